// Which candidates of the face finder are faces: overlaps are removed, the best first.
//
// Reference: stream_detect.faces.retinaface.suppress (NumPy), on candidates above a confidence.
//
// nms: grid of `pictures` blocks, any number of threads from 15 on.
//   candidates   (pictures, num, 15) float   confidence, box x1 y1 x2 y2, landmarks; falling confidence; num <= MOST
//   num, most    int                         candidates a picture; faces kept a picture at most
//   confident    float                       candidates are above it
//   max_iou      float                       of two boxes that overlap more, the second goes
//   counts       (pictures,) float           out: faces kept
//   faces        (pictures, most, 15) float  out: rows of those, best first; rows behind them are left as they are
// Every block reads the confident candidates once; a pass over the rest follows each face that is kept.
//
// Shared memory: boxes are written before the first barrier, then only read. gone[j] is written in the pass of face
// i < j and read behind that pass's barrier; no thread reads beyond i before it.

#ifndef MOST
#define MOST 2048
#endif
#define ROW 15
#define TINY 1.17549435e-38f

static __device__ float area(float4 box) { return fmaxf(box.z - box.x, 0.0f) * fmaxf(box.w - box.y, 0.0f); }

static __device__ float overlap(float4 a, float4 b) {
    float4 both = make_float4(fmaxf(a.x, b.x), fmaxf(a.y, b.y), fminf(a.z, b.z), fminf(a.w, b.w));
    float shared = area(both);
    return shared / fmaxf(area(a) + area(b) - shared, TINY);
}

extern "C" __global__ void nms(const float* candidates, int num, int most, float confident, float max_iou,
                               float* counts, float* faces) {
    __shared__ float4 boxes[MOST];
    __shared__ unsigned char gone[MOST];
    const float* given = candidates + (size_t)blockIdx.x * num * ROW;
    float* kept = faces + (size_t)blockIdx.x * most * ROW;

    for (int i = threadIdx.x; i < num; i += blockDim.x) {
        const float* row = given + i * ROW;
        boxes[i] = make_float4(row[1], row[2], row[3], row[4]);
        gone[i] = !(row[0] > confident);
    }
    __syncthreads();

    int found = 0;
    for (int i = 0; i < num && found < most; ++i) {
        if (gone[i]) continue;
        if (threadIdx.x < ROW) kept[found * ROW + threadIdx.x] = given[i * ROW + threadIdx.x];
        for (int j = i + 1 + threadIdx.x; j < num; j += blockDim.x)
            if (!gone[j] && overlap(boxes[i], boxes[j]) > max_iou) gone[j] = 1;
        ++found;
        __syncthreads();
    }
    if (threadIdx.x == 0) counts[blockIdx.x] = found;
}
