// Runs a CUDA kernel on the host, for tests: one block after another, each thread of a block as a fiber.
//
// A fiber runs until it meets __syncthreads() or a shuffle and then lets every other fiber of its block come as far, so
// barriers and warp exchanges mean what they mean on a GPU, as long as the threads they concern all reach them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <ucontext.h>
#include <vector>

#define __global__
#define __shared__ static
#define __restrict__ __restrict

struct float2 { float x, y; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };

static dim3 blockIdx, blockDim, gridDim, threadIdx;

namespace host {

constexpr std::size_t STACK_BYTES = 64 * 1024;
constexpr unsigned WARP_LANES = 32;

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    bool is_done = false;
};

static ucontext_t scheduler;
static std::vector<Fiber>* fibers;
static std::vector<float> exchanged;
static std::function<void()> body;

inline void pause() {
    const unsigned mine = threadIdx.x;
    swapcontext(&(*fibers)[mine].context, &scheduler);
}

inline void enter() {
    body();
    (*fibers)[threadIdx.x].is_done = true;
}

inline void run_block() {
    std::vector<Fiber> all(blockDim.x);
    fibers = &all;
    exchanged.assign(blockDim.x, 0.0f);
    for (Fiber& fiber : all) {
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK_BYTES;
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, enter, 0);
    }
    for (bool is_running = true; is_running;) {
        is_running = false;
        for (unsigned thread = 0; thread < blockDim.x; ++thread) {
            if (all[thread].is_done) continue;
            threadIdx.x = thread;
            swapcontext(&scheduler, &all[thread].context);
            is_running |= !all[thread].is_done;
        }
    }
}

template <typename Kernel, typename... Arguments>
void launch(unsigned blocks, unsigned threads, Kernel kernel, Arguments... arguments) {
    gridDim.x = blocks;
    blockDim.x = threads;
    body = [=] { kernel(arguments...); };
    for (unsigned block = 0; block < blocks; ++block) {
        blockIdx.x = block;
        run_block();
    }
}

}  // namespace host

inline void __syncthreads() { host::pause(); }

inline float __shfl_down_sync(unsigned, float value, unsigned distance) {
    const unsigned mine = threadIdx.x;
    host::exchanged[mine] = value;
    host::pause();  // until the whole warp has written
    const bool is_inside = mine % host::WARP_LANES + distance < host::WARP_LANES;
    const float got = is_inside ? host::exchanged[mine + distance] : value;
    host::pause();  // until the whole warp has read
    return got;
}
