mod generation;
mod sampler;
