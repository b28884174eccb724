//! Containers and cdiffs made for tests, signed with keys of their own.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use sha2::Sha256;

pub(super) use super::dsig::tests::SigningKey;
use super::{PublicKey, hex};

/// Stands in for the key of the outer layer; 1024 bits, made for these tests.
pub(super) const OUTER: SigningKey = SigningKey {
    public: PublicKey::new(
        "1263065151365989166687875189786283268134291984921097126545315387476160502506825721377752\
         7427528178450858120702414760340760753279833255690925921005992769496879118280140698490742\
         2922733389584220019485024006745613881444046173302662574227554138637279780620945711606778\
         003864496686170468286275425234906664961096831",
        65_537,
    ),
    private_exponent: "1691551769769639580087504850810108525628985268116097697436292957547379454430689435972433\
         2549768042825149415659107733266835090336313301676801930004363723981010174610824322601598\
         3265264996883338636867395630087067511283287565178642939339548464892523324425478834709084\
         04010012729127744933723194776876962025021473",
};

/// Stands in for the key of `.info`; 2047 bits, made for these tests.
pub(super) const INFO: SigningKey = SigningKey {
    public: PublicKey::new(
        "1110942944283488745973621513347118626551734524058272334073160643628403390570358432090971\
         2422911898549373275797420015062350675976927282512836069318098580104135702215698026084805\
         4642547090120995598022975053627828447506303664034178048920984695122354288276784726032859\
         4468269916876030290378106833577573490616374014322693177772637224226856196051120332039412\
         0234488543532458502483550711551426014816511405253774555404242199055981429473213785685039\
         7502414245460014206278321848746528266448795362113626143034305142477857554116749844527853\
         7929449402696619348485989193246006595307155954759162145665571463299997667369033501035326\
         1",
        65_537,
    ),
    private_exponent: "1090940309523665795270219261401658810274958859343855113965338656667121732867487947481249\
         3132144301004654102422975722254111455419795064172583287503316757247995199467410437840301\
         2842064834809602418511140356231230532312482794547318258303062575705164333592154578532687\
         4196170820153358887313484314029508478197018187366738335371141432026743446563903880959041\
         3273284260841450850569005454063172360864262107908289122097677573037306756531302445562416\
         5717880430409501794599000420984978737631999356625078141960866710200844442586893406487837\
         5814789977452811167533077701360420486615481459475482420788409056510198590314380779308646\
         5",
};

/// Stands in for the key of cdiffs; 2047 bits, made for these tests.
pub(super) const CDIFF: SigningKey = SigningKey {
    public: PublicKey::new(
        "1305894887429798906736142829082752866914571132520527809574336260768024217859598638809198\
         1331680509340363927153757550424744143700379171311553047212934345220955688289807621283547\
         8898586204822444363826090447538585213002675447234958889929978975263746953376990298251738\
         9807666778796008342590422099012538730358896984329362114742267826449876260535071438107012\
         4912617183471679441987774607591746156414624550691733820959293613224470723994204692326035\
         7796122037418912161426827903412504298683171949151192415555250867027497725817070394575348\
         7529438133470368284707629210898245030407022514436903726029875379140883105477158314077428\
         9",
        65_537,
    ),
    private_exponent: "9746638162219995380333504789928402846065479404932953488490331241772912491017960513711814\
         3164597164025597926789278853392119725492522816963441376836515336701073673956337639419482\
         3511214370917961397712649060973550377468127443436650921164379144002764618075606672366077\
         2548669120958840360325908502235274647416739534980564892301712860205648438436893584654449\
         8510980769356353335889443508009686926091564592054233593291969014222120584445541672006484\
         7800914781411985939856942790763925353571151521678472851340129119822711252717645998839147\
         7881646091949423419692750659794415455877552897277733094370163607738571816107447126795401",
};

/// How a container is made; change what a test is about.
pub(super) struct Sample {
    pub(super) version: u32,
    pub(super) signatures: u32,
    pub(super) level: u32,
    pub(super) unix_time_s: Option<u64>,
    /// Name of the `.info` member.
    pub(super) info_name: &'static str,
    /// Listed in `.info` and put behind it.
    pub(super) members: Vec<(&'static str, Vec<u8>)>,
    /// Changes `.info` before it is signed.
    pub(super) info: fn(String) -> String,
    /// Changes `.info` after it was signed.
    pub(super) signed_info: fn(String) -> String,
    /// Changes the tar.
    pub(super) tar: fn(Vec<u8>) -> Vec<u8>,
    /// Whether header and `.info` are signed; otherwise the container is a `.cud`.
    pub(super) signed: bool,
    pub(super) compressed: bool,
    /// Changes the header's text before it is padded.
    pub(super) header: fn(String) -> String,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            version: 6,
            signatures: 14,
            level: 90,
            unix_time_s: Some(1_624_412_045),
            info_name: "test.info",
            members: vec![
                ("test.ndb", b"Win.Trojan.EOL-1:0:*:aa\n".repeat(50)),
                ("test.hdb", b"aa34f8a2:17:Test.EOL-2\n".to_vec()),
            ],
            info: |info| info,
            signed_info: |info| info,
            tar: |tar| tar,
            signed: true,
            compressed: true,
            header: |header| header,
        }
    }
}

impl Sample {
    /// The file's bytes.
    pub(super) fn build(&self) -> Vec<u8> {
        let head = |md5: &str, dsig: &str| {
            let start = "ClamAV-VDB:22 Jun 2021 21-34 -0400";
            let (version, signatures, level) = (self.version, self.signatures, self.level);
            let time = self.unix_time_s.map(|time| format!(":{time}"));
            let time = time.unwrap_or_default();
            format!("{start}:{version}:{signatures}:{level}:{md5}:{dsig}:tester{time}")
        };
        let mut info = head("X", "X") + "\n";
        for (name, bytes) in &self.members {
            let sum = hex::encode(&Sha256::digest(bytes));
            info += &format!("{name}:{}:{sum}\n", bytes.len());
        }
        let mut info = (self.info)(info);
        if self.signed {
            info += &format!("DSIG:{}\n", INFO.sign_pss(&Sha256::digest(&info).into()));
        }
        let info = (self.signed_info)(info);

        let mut files: Vec<(&str, &[u8])> =
            vec![("COPYING", b"free"), (self.info_name, info.as_bytes())];
        files.extend(
            self.members
                .iter()
                .map(|(name, bytes)| (*name, bytes.as_slice())),
        );
        let tar = (self.tar)(tar(&files));
        let body = if self.compressed { gzip(&tar) } else { tar };

        let md5: [u8; 16] = Md5::digest(&body).into();
        let dsig = if self.signed {
            OUTER.sign_md5(&md5)
        } else {
            "X".to_string()
        };
        let header = (self.header)(head(&hex::encode(&md5), &dsig));
        let mut file = format!("{header:<512}").into_bytes();
        file.extend(body);
        file
    }
}

/// A header block as `common/tar.c` of ClamAV writes it, without its checksum.
pub(super) fn tar_header(name: &str, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    let size = format!("{size:o}");
    block[124..124 + size.len()].copy_from_slice(size.as_bytes());
    block
}

/// The header block with its checksum.
pub(super) fn tar_seal(mut block: [u8; 512]) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.to_vec()
}

/// A tar without end blocks.
pub(super) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, bytes) in files {
        tar.extend(tar_seal(tar_header(name, bytes.len() as u64)));
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar
}

/// A cdiff signed with [`CDIFF`]; `version` goes into its header as it is.
pub(super) fn cdiff(version: &str, script: &[u8]) -> Vec<u8> {
    let mut file = format!("ClamAV-Diff:{version}:{}:", script.len()).into_bytes();
    file.extend(gzip(script));
    let dsig = CDIFF.sign_pss(&Sha256::digest(&file).into());
    file.push(b':');
    file.extend(dsig.into_bytes());
    file
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// All of it, or `None` where the stream is damaged.
pub(super) fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut opened = Vec::new();
    let read = MultiGzDecoder::new(bytes).read_to_end(&mut opened);
    read.ok().map(|_| opened)
}
