//! Made-up feeds with the shape of real ones, for the demo and the benchmarks.
