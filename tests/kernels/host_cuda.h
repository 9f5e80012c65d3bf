// Runs CUDA kernels on the host, for tests: one block after another, each thread of a block as a fiber.
//
// A fiber runs until it meets __syncthreads() or a shuffle and then lets every other fiber of its block come as far, so
// barriers and warp exchanges mean what they mean on a GPU, as long as all threads of the block reach them. Blocks whose
// threads never wait for each other run as a plain loop (`waits` below). What a GPU does at the same time happens here
// in order of the thread's number, or the other way round (`run_backwards`): a race is found only if the two differ.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <setjmp.h>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __constant__ static const
#define __shared__ static
#define __restrict__ __restrict
#define __launch_bounds__(...)

struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct int2 { int x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct uchar2 { unsigned char x, y; };
struct uchar4 { unsigned char x, y, z, w; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) { return {x, y, z, w}; }

static dim3 blockIdx, blockDim, gridDim, threadIdx;

using std::max;
using std::min;

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyintf(x)); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __logf(float x) { return std::log(x); }
template <typename T> T __ldg(const T* address) { return *address; }

namespace host {

constexpr std::size_t STACK_BYTES = 64 * 1024;
constexpr unsigned WARP_LANES = 32;

struct Fiber {
    ucontext_t context;
    jmp_buf place;  // where it waits
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    bool has_begun = false;
    bool is_done = false;
};

static jmp_buf scheduler;
static std::vector<std::unique_ptr<Fiber>> fibers;
static std::vector<std::uint64_t> exchanged;
static std::function<void()> body;
static bool is_backward = false;

// Jumps keep the signal mask as it is; swapcontext() would ask the kernel to, twice a switch.
inline void pause() {
    if (!_setjmp(fibers[threadIdx.x]->place)) _longjmp(scheduler, 1);
}

inline void resume(Fiber& fiber) {
    if (_setjmp(scheduler)) return;
    if (std::exchange(fiber.has_begun, true)) _longjmp(fiber.place, 1);
    setcontext(&fiber.context);
}

inline void enter() {
    for (;;) {  // a fiber is used again by the next block
        body();
        fibers[threadIdx.x]->is_done = true;
        pause();
    }
}

inline void make_fibers(unsigned threads) {
    fibers.clear();
    exchanged.assign(threads, 0);
    for (unsigned thread = 0; thread < threads; ++thread) {
        fibers.push_back(std::make_unique<Fiber>());
        Fiber& fiber = *fibers.back();
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK_BYTES;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
    }
}

inline void run_block_in_fibers() {
    for (auto& fiber : fibers) fiber->is_done = false;
    for (bool is_running = true; is_running;) {
        is_running = false;
        for (unsigned turn = 0; turn < blockDim.x; ++turn) {
            const unsigned thread = is_backward ? blockDim.x - 1 - turn : turn;
            if (fibers[thread]->is_done) continue;
            threadIdx.x = thread;
            resume(*fibers[thread]);
            is_running |= !fibers[thread]->is_done;
        }
    }
}

inline void run_block_in_a_loop() {
    for (unsigned turn = 0; turn < blockDim.x; ++turn) {
        threadIdx.x = is_backward ? blockDim.x - 1 - turn : turn;
        body();
    }
}

inline void run_grid(const unsigned* grid, unsigned threads, bool waits) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    if (waits) make_fibers(threads);
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
                waits ? run_block_in_fibers() : run_block_in_a_loop();
}

template <auto kernel>
struct Launch;

template <typename... Arguments, void (*kernel)(Arguments...)>
struct Launch<kernel> {
    static void run(const unsigned* grid, unsigned threads, bool waits, void** arguments) {
        with(grid, threads, waits, arguments, std::index_sequence_for<Arguments...>{});
    }

    template <std::size_t... places>
    static void with(
        const unsigned* grid, unsigned threads, bool waits, void** arguments, std::index_sequence<places...>)
    {
        body = [=] { kernel(*static_cast<std::remove_reference_t<Arguments>*>(arguments[places])...); };
        run_grid(grid, threads, waits);
    }
};

template <typename T>
inline T exchange(T value, unsigned from, bool is_inside) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    std::memcpy(&exchanged[threadIdx.x], &value, sizeof(T));
    pause();  // until the whole warp has written
    T got = value;
    if (is_inside) std::memcpy(&got, &exchanged[from], sizeof(T));
    pause();  // until the whole warp has read
    return got;
}

}  // namespace host

inline void __syncthreads() { host::pause(); }
inline void __syncwarp(unsigned = 0xffffffffu) { host::pause(); }

template <typename T>
inline T __shfl_down_sync(unsigned, T value, unsigned distance) {
    const unsigned mine = threadIdx.x, lane = mine % host::WARP_LANES;
    return host::exchange(value, mine + distance, lane + distance < host::WARP_LANES);
}

template <typename T>
inline T __shfl_xor_sync(unsigned, T value, unsigned mask) {
    return host::exchange(value, threadIdx.x ^ mask, true);
}

template <typename T>
inline T __shfl_sync(unsigned, T value, unsigned lane) {
    return host::exchange(value, threadIdx.x / host::WARP_LANES * host::WARP_LANES + lane, true);
}

inline int atomicAdd(int* address, int value) { return std::exchange(*address, *address + value); }

extern "C" void run_backwards(bool backwards) { host::is_backward = backwards; }

#define RUN_ON_HOST(kernel)                                                                                        \
    extern "C" void kernel##_host(const unsigned* grid, unsigned threads, bool waits, void** arguments) {          \
        host::Launch<kernel>::run(grid, threads, waits, arguments);                                                \
    }
