// kernels/radial_power.cu as a host function that ctypes can call.

#include "host_cuda.h"

#include "radial_power.cu"

extern "C" void radial_power_host(
    int tiles, int threads, const float2* waves, const int* starts, const int* bins, const float* weights, int groups,
    float* power)
{
    host::launch(tiles, threads, radial_power, waves, starts, bins, weights, groups, power);
}
