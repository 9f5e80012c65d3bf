// Mean power of each windowed tile in groups of frequency bins, straight from its Fourier coefficients.
//
// Reference: stream_detect.experts.spectrum.radial_power (NumPy); a test holds this kernel to it. The reference writes
// |F|^2 of every bin to memory and multiplies it by a (bins, groups) matrix that is mostly zero. Here a tile's powers
// stay in shared memory and each group reads only the bins it has.
//
// waves    (tiles, BINS) float2      real FFT of each tile, C order: 64 rows of 33 complex64
// starts   (groups + 1,) int32       group g owns entries starts[g] .. starts[g + 1] - 1 of `bins` and `weights`
// bins     (entries,) int32          index of a bin, 0 .. BINS - 1
// weights  (entries,) float          what the bin counts in the group's mean
// power    (tiles, groups) float     out: sum over the group's entries of weight * |F[bin]|^2
//
// Grid: one block a tile, blockDim.x a multiple of 32. A warp takes every (blockDim.x / 32)-th group, its lanes add up
// in a fixed order: the same numbers on every run.

#ifndef BINS
#define BINS 2112  // 64 * 33
#endif

#define WARP 32

extern "C" __global__ void radial_power(
    const float2* __restrict__ waves,
    const int* __restrict__ starts,
    const int* __restrict__ bins,
    const float* __restrict__ weights,
    const int groups,
    float* __restrict__ power)
{
    __shared__ float square[BINS];

    const size_t tile = blockIdx.x;
    for (int bin = threadIdx.x; bin < BINS; bin += blockDim.x) {
        const float2 wave = waves[tile * BINS + bin];
        square[bin] = wave.x * wave.x + wave.y * wave.y;
    }
    __syncthreads();

    const int lane = threadIdx.x % WARP;
    for (int group = threadIdx.x / WARP; group < groups; group += blockDim.x / WARP) {
        float sum = 0.0f;
        for (int entry = starts[group] + lane; entry < starts[group + 1]; entry += WARP) {
            sum += weights[entry] * square[bins[entry]];
        }
        for (int distance = WARP / 2; distance > 0; distance /= 2) {
            sum += __shfl_down_sync(0xffffffffu, sum, distance);
        }
        if (lane == 0) {
            power[tile * groups + group] = sum;
        }
    }
}
