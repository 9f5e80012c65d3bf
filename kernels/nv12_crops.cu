// Faces cut out of 4:2:0 pictures: native luma tiles, picked pixels, aligned crops and network inputs, in one launch.
//
// Reference: stream_detect.faces.crop.cut_faces on stream_detect.decode.frame.Frame (NumPy and OpenCV); `nv12_reduced` is
// Frame.reduced followed by stream_detect.faces.detector.network_input. A picture is NV12 (V beside U) or three planes;
// chroma lies on even luma columns, between two luma rows, and is interpolated linearly; what lies beyond a picture's
// edge is mirrored in, the edge itself not repeated. Colour is computed in 10-bit integers and rounded to 8 bits where
// OpenCV rounds.
//
// Equal to the reference, bit for bit: `tiles`, and `pixels` where OpenCV transforms in 10-bit integers (x86; else +-1).
// `aligned`: the reference averages blocks of `whole` native pixels (rounded), filters rows and columns with three taps
// (rounded), and turns the result bilinearly (rounded). The first step is the same here. The other two are one footprint
// of 4 x 4 blocks, weighted in float32 and rounded once, or of 2 x 2 where no filter is needed: without the filter,
// values differ by 1 where a sum lies close to a half, with it by the rounding that is left out, at most 1. Older
// versions of OpenCV (4.x) turn with weights of 5 bits, which on noise differ from ours by several levels, on pictures by
// less than 1. `network` is `aligned` / 255, correctly rounded. `reduced` is the reference's too, but where a picture
// shrinks by a fraction and multiplications are fused into sums, a sum close to a half may be rounded the other way, by
// 1 in luma or chroma, up to 3 in RGB.
//
// table    bytes                           `frames` structs Picture, then `faces` structs Cut, as below
// tiles    (faces, 28, 64, 64) float       out: luma in [0, 1]
// pixels   (faces, 64, 64, 3) uint8        out: RGB
// aligned  (faces, 256, 256, 3) uint8      out: RGB
// network  (faces, 3, 256, 256) float      out: RGB in [0, 1]
// reduced  (frames, 3, height, width) float  out: BGR minus `means`
//
// Grids: `nv12_crops` (BLOCKS, faces), 256 threads: 64 blocks take 32 x 32 pixels of the aligned crop each (they collect
// the blocks of pixels under their square in shared memory first, each once), 28 a tile each, and one the picked pixels.
// `nv12_reduced` (ceil(width / blockDim.x), height, frames), any whole number of warps; pictures of one size.
// Tables and outputs begin at multiples of 16 bytes; NV12's UV at multiples of 2.

#define TILES 28
#define TILE 64
#define PICKED 64
#define ALIGNED 256
#define THREADS 256
#define WARP 32
#define SQUARE 32                                      // side of the part of the aligned crop that one block makes
#define SQUARES_A_ROW (ALIGNED / SQUARE)
#define SQUARES (SQUARES_A_ROW * SQUARES_A_ROW)
#define BLOCKS (SQUARES + TILES + 1)
#define WARPS (THREADS / WARP)
#define MOST_BLOCKS (94 * 94)  // under a square: (31 * 2 * sqrt(2) + 6)^2, for less than 2 blocks a pixel at 45 degrees
#define HALF_BIT 10            // colour weights are whole 1 / 1024s

typedef unsigned char byte;

struct Picture {  // one frame: where its planes are and what its numbers mean
    unsigned long long luma, u, v;  // addresses
    int luma_stride, chroma_stride;  // bytes from row to row
    int height, width;               // of luma; chroma's are half, rounded up
    int is_interleaved;              // V beside U (NV12), or planes of their own
    int black, span;                 // luma in [0, 1] is (Y - black) / span
    int luma_weight, red_v, green_u, green_v, blue_u;  // of 1024
    int red, green, blue;                              // offsets, with the half that rounds
    int unused;
};

struct Cut {  // one face: what to take from which frame
    int frame;
    int whole;                          // native pixels are first averaged in blocks of whole x whole ...
    int left, top;                      // ... whose grid has a corner here
    float origin_x, origin_y;           // block coordinates of the crop's first pixel, block centres at whole numbers
    float along, across;                // blocks a crop pixel: one to the right is (along, across), down (-across, along)
    float side_tap, middle_tap;         // of the filter that precedes turning; side_tap is 0 where there is none
    int picked_x, picked_y, picked_width, picked_height;
    int tiles[TILES][2];                // x, y of upper left corners
};

static_assert(sizeof(Picture) == 88 && sizeof(Cut) == 280, "the host packs tables of these sizes");

struct Row {  // offsets of one luma row and of the chroma rows around it
    int luma, near_chroma, far_chroma;
};

__device__ __forceinline__ const byte* at(unsigned long long address) {
    return reinterpret_cast<const byte*>(address);
}

__device__ __forceinline__ int clipped(int value, int low, int high) { return min(max(value, low), high); }

// An index mirrored into 0 .. length - 1 (... 2 1 0 1 2 ...).
__device__ __forceinline__ int mirrored(int index, int length) {
    if (static_cast<unsigned>(index) < static_cast<unsigned>(length)) return index;
    if (length == 1) return 0;
    const int period = 2 * length - 2;
    const int folded = (index < 0 ? -index : index) % period;
    return folded < length ? folded : period - folded;
}

__device__ __forceinline__ Row row_of(const Picture& picture, int y) {
    const int last = (picture.height + 1) / 2 - 1;
    const int close = y / 2;
    const int other = clipped(close + (y % 2 ? 1 : -1), 0, last);
    return {y * picture.luma_stride, close * picture.chroma_stride, other * picture.chroma_stride};
}

// U and V of a sample.
__device__ __forceinline__ int2 sample(const Picture& picture, int row, int column) {
    if (picture.is_interleaved) {
        const uchar2 both = *reinterpret_cast<const uchar2*>(at(picture.u) + row + 2 * column);
        return make_int2(both.x, both.y);
    }
    return make_int2(at(picture.u)[row + column], at(picture.v)[row + column]);
}

// U and V of a chroma column, at the height of a luma row: 3/4 of the near row and 1/4 of the far one.
__device__ __forceinline__ int2 between_rows(const Picture& picture, const Row& row, int column) {
    const int2 close = sample(picture, row.near_chroma, column), other = sample(picture, row.far_chroma, column);
    return make_int2((3 * close.x + other.x + 2) >> 2, (3 * close.y + other.y + 2) >> 2);
}

// Half of a sum of two whole numbers, halves to the even one.
__device__ __forceinline__ int mean(int sum) {
    const int half = sum >> 1;
    return half + (sum & half & 1);
}

__device__ __forceinline__ int level(int value) { return clipped(value >> HALF_BIT, 0, 255); }

__device__ __forceinline__ uchar4 rgb_of(const Picture& picture, int luma, int u, int v) {
    const int grey = picture.luma_weight * luma;
    return make_uchar4(
        level(grey + picture.red_v * v + picture.red),
        level(grey + picture.green_u * u + picture.green_v * v + picture.green),
        level(grey + picture.blue_u * u + picture.blue), 0);
}

// RGB of a native pixel inside the picture. Even columns have a sample of their own; it is its own mean.
__device__ __forceinline__ uchar4 native(const Picture& picture, const Row& row, int x) {
    const int column = x / 2, last = (picture.width + 1) / 2 - 1;
    const int2 left = between_rows(picture, row, column);
    const int2 right = between_rows(picture, row, min(column + x % 2, last));
    return rgb_of(picture, at(picture.luma)[row.luma + x], mean(left.x + right.x), mean(left.y + right.y));
}

// The mean of the block whose upper left native pixel is (x, y), which may lie beyond the edge.
__device__ __forceinline__ uchar4 block_mean(const Picture& picture, int x, int y, int whole) {
    if (whole == 1) {
        return native(picture, row_of(picture, mirrored(y, picture.height)), mirrored(x, picture.width));
    }
    int red = 0, green = 0, blue = 0;
    for (int j = 0; j < whole; ++j) {
        const Row row = row_of(picture, mirrored(y + j, picture.height));
        for (int i = 0; i < whole; ++i) {
            const uchar4 rgb = native(picture, row, mirrored(x + i, picture.width));
            red += rgb.x;
            green += rgb.y;
            blue += rgb.z;
        }
    }
    if (whole == 2) return make_uchar4((red + 2) >> 2, (green + 2) >> 2, (blue + 2) >> 2, 0);
    const float share = 1.0f / (whole * whole);
    return make_uchar4(
        __float2int_rn(red * share), __float2int_rn(green * share), __float2int_rn(blue * share), 0);
}

// Weights of four neighbours, of which the value sought lies `part` of the way from the second to the third.
__device__ __forceinline__ float4 weights(float part, float side, float middle) {
    return make_float4(
        side * (1 - part), middle * (1 - part) + side * part, side * (1 - part) + middle * part, side * part);
}

__device__ __forceinline__ void add(float4& sum, const uchar4& rgb, float weight) {
    sum.x += weight * rgb.x;
    sum.y += weight * rgb.y;
    sum.z += weight * rgb.z;
}

// One pixel of the aligned crop, in 0 .. 255, out of the blocks around it; `first` is the upper left one of the inner
// four.
__device__ __forceinline__ float4 turned(const uchar4* first, int columns, float x, float y, const Cut& cut) {
    float4 sum = make_float4(0, 0, 0, 0);
    if (cut.side_tap == 0) {
        add(sum, first[0], (1 - x) * (1 - y));
        add(sum, first[1], x * (1 - y));
        add(sum, first[columns], (1 - x) * y);
        add(sum, first[columns + 1], x * y);
        return sum;
    }
    const float4 in_row = weights(x, cut.side_tap, cut.middle_tap), in_column = weights(y, cut.side_tap, cut.middle_tap);
    const float down[4] = {in_column.x, in_column.y, in_column.z, in_column.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const uchar4* row = first + (j - 1) * columns - 1;
        float4 across = make_float4(0, 0, 0, 0);
        add(across, row[0], in_row.x);
        add(across, row[1], in_row.y);
        add(across, row[2], in_row.z);
        add(across, row[3], in_row.w);
        sum.x += down[j] * across.x;
        sum.y += down[j] * across.y;
        sum.z += down[j] * across.z;
    }
    return sum;
}

// A square of the aligned crop: the blocks of native pixels under it once into shared memory, then its pixels.
__device__ void align(const Picture& picture, const Cut& cut, int square, byte* aligned, float* network) {
    __shared__ uchar4 blocks[MOST_BLOCKS];
    const int left = square % SQUARES_A_ROW * SQUARE, top = square / SQUARES_A_ROW * SQUARE;
    const float first_x = cut.origin_x + left * cut.along - top * cut.across;
    const float first_y = cut.origin_y + left * cut.across + top * cut.along;
    const float along = (SQUARE - 1) * cut.along, across = (SQUARE - 1) * cut.across;
    const int reach = cut.side_tap != 0;
    const int low_x = static_cast<int>(floorf(first_x + fminf(along, 0) - fmaxf(across, 0))) - reach;
    const int low_y = static_cast<int>(floorf(first_y + fminf(across, 0) + fminf(along, 0))) - reach;
    const int high_x = static_cast<int>(floorf(first_x + fmaxf(along, 0) - fminf(across, 0))) + 1 + reach;
    const int high_y = static_cast<int>(floorf(first_y + fmaxf(across, 0) + fmaxf(along, 0))) + 1 + reach;
    const int columns = high_x - low_x + 1, count = min(columns * (high_y - low_y + 1), MOST_BLOCKS);

    const int columns_on = THREADS % columns, rows_on = THREADS / columns;
    int column = threadIdx.x % columns, row = threadIdx.x / columns;
    for (int block = threadIdx.x; block < count; block += THREADS) {
        const int x = cut.left + (low_x + column) * cut.whole, y = cut.top + (low_y + row) * cut.whole;
        blocks[block] = block_mean(picture, x, y, cut.whole);
        column += columns_on;
        row += rows_on + (column >= columns);
        column -= column >= columns ? columns : 0;
    }
    __syncthreads();

    const int lane = threadIdx.x % WARP;
    for (int line = threadIdx.x / WARP; line < SQUARE; line += WARPS) {
        const float x = first_x + lane * cut.along - line * cut.across;
        const float y = first_y + lane * cut.across + line * cut.along;
        const int left_of = clipped(static_cast<int>(floorf(x)), low_x + reach, high_x - reach - 1);
        const int above = clipped(static_cast<int>(floorf(y)), low_y + reach, high_y - reach - 1);
        const uchar4* first = blocks + (above - low_y) * columns + left_of - low_x;
        const float4 rgb = turned(first, columns, x - left_of, y - above, cut);
        const int pixel = (top + line) * ALIGNED + left + lane;
        const int levels[3] = {__float2int_rn(rgb.x), __float2int_rn(rgb.y), __float2int_rn(rgb.z)};
#pragma unroll
        for (int channel = 0; channel < 3; ++channel) {
            const int value = clipped(levels[channel], 0, 255);
            aligned[3 * pixel + channel] = value;
            network[channel * ALIGNED * ALIGNED + pixel] = value / 255.0f;
        }
    }
}

// A tile of native luma.
__device__ void take_tile(const Picture& picture, const int* corner, float* tile) {
    const float span = picture.span;
    for (int quad = threadIdx.x; quad < TILE * TILE / 4; quad += THREADS) {
        const int x = corner[0] + quad % (TILE / 4) * 4, y = corner[1] + quad / (TILE / 4);
        const byte* row = at(picture.luma) + mirrored(y, picture.height) * picture.luma_stride;
        float values[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            values[i] = clipped(row[mirrored(x + i, picture.width)] - picture.black, 0, picture.span) / span;
        }
        reinterpret_cast<float4*>(tile)[quad] = make_float4(values[0], values[1], values[2], values[3]);
    }
}

// Native pixels at the middles of a grid over the face.
__device__ void pick(const Picture& picture, const Cut& cut, byte* pixels) {
    for (int picked = threadIdx.x; picked < PICKED * PICKED; picked += THREADS) {
        const int x = cut.picked_x + (2 * (picked % PICKED) + 1) * cut.picked_width / (2 * PICKED);
        const int y = cut.picked_y + (2 * (picked / PICKED) + 1) * cut.picked_height / (2 * PICKED);
        const uchar4 rgb = block_mean(picture, x, y, 1);
        pixels[3 * picked] = rgb.x;
        pixels[3 * picked + 1] = rgb.y;
        pixels[3 * picked + 2] = rgb.z;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) nv12_crops(
    const byte* __restrict__ table, int frames, float* __restrict__ tiles, byte* __restrict__ pixels,
    byte* __restrict__ aligned, float* __restrict__ network)
{
    const size_t face = blockIdx.y;
    const Cut& cut = reinterpret_cast<const Cut*>(table + frames * sizeof(Picture))[face];
    const Picture picture = reinterpret_cast<const Picture*>(table)[cut.frame];
    const int part = blockIdx.x;
    if (part < SQUARES) {
        const size_t pixel = face * ALIGNED * ALIGNED * 3;
        align(picture, cut, part, aligned + pixel, network + pixel);
    } else if (part < SQUARES + TILES) {
        const int tile = part - SQUARES;
        take_tile(picture, cut.tiles[tile], tiles + (face * TILES + tile) * TILE * TILE);
    } else {
        pick(picture, cut, pixels + face * PICKED * PICKED * 3);
    }
}

// How one plane is reduced: a pixel is the sum of across_taps x down_taps source pixels from the starts on, each times
// both weights, the whole times `share`, and rounded as OpenCV rounds there.
enum Rounding { TO_EVEN, HALVES_UP, LINEAR };

struct Axis {
    const int* starts;     // (pixels,)
    const float* weights;  // (taps, pixels)
    int taps, pixels, last;  // `last` source pixel
};

struct Reduction {
    Axis across, down;
    int rounding;
    float share;
};

__device__ __forceinline__ int rounded(float value, const Reduction& how) {
    value *= how.share;
    return clipped(how.rounding == TO_EVEN ? __float2int_rn(value) : static_cast<int>(floorf(value + 0.5f)), 0, 255);
}

__device__ __forceinline__ int reduced_luma(const Picture& picture, const Reduction& how, int x, int y) {
    const Axis &across = how.across, &down = how.down;
    const int left = across.starts[x], top = down.starts[y];
    float sum = 0;
    for (int j = 0; j < down.taps; ++j) {
        const byte* row = at(picture.luma) + min(top + j, down.last) * picture.luma_stride;
        float in_row = 0;
        for (int i = 0; i < across.taps; ++i) {
            in_row += across.weights[i * across.pixels + x] * row[min(left + i, across.last)];
        }
        sum += down.weights[j * down.pixels + y] * in_row;
    }
    return rounded(sum, how);
}

__device__ __forceinline__ int2 reduced_chroma(const Picture& picture, const Reduction& how, int x, int y) {
    const Axis &across = how.across, &down = how.down;
    const int left = across.starts[x], top = down.starts[y];
    float2 sum = make_float2(0, 0);
    for (int j = 0; j < down.taps; ++j) {
        const int row = min(top + j, down.last) * picture.chroma_stride;
        float2 in_row = make_float2(0, 0);
        for (int i = 0; i < across.taps; ++i) {
            const float weight = across.weights[i * across.pixels + x];
            const int2 both = sample(picture, row, min(left + i, across.last));
            in_row.x += weight * both.x;
            in_row.y += weight * both.y;
        }
        const float weight = down.weights[j * down.pixels + y];
        sum.x += weight * in_row.x;
        sum.y += weight * in_row.y;
    }
    return make_int2(rounded(sum.x, how), rounded(sum.y, how));
}

// OpenCV's linear interpolation: weights are whole 1 / 2048s, and sums lose their last bits on the way.
__device__ __forceinline__ int between(int above, int below, int above_weight, int below_weight) {
    return ((above_weight * (above >> 4) >> 16) + (below_weight * (below >> 4) >> 16) + 2) >> 2;
}

__device__ __forceinline__ int2 linear_chroma(const Picture& picture, const Reduction& how, int x, int y) {
    const Axis &across = how.across, &down = how.down;
    const int left = across.starts[x], right = min(left + 1, across.last), top = down.starts[y];
    const int left_weight = across.weights[x], right_weight = across.weights[across.pixels + x];
    int2 rows[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
        const int row = min(top + j, down.last) * picture.chroma_stride;
        const int2 one = sample(picture, row, left), other = sample(picture, row, right);
        rows[j].x = left_weight * one.x + right_weight * other.x;
        rows[j].y = left_weight * one.y + right_weight * other.y;
    }
    const int above_weight = down.weights[y], below_weight = down.weights[down.pixels + y];
    return make_int2(
        between(rows[0].x, rows[1].x, above_weight, below_weight),
        between(rows[0].y, rows[1].y, above_weight, below_weight));
}

// starts (2 * (width + height),) int32 and weights float: luma across, luma down, chroma across, chroma down. No taps at
// all mean that pictures keep their size: pixels are then native ones.
extern "C" __global__ void nv12_reduced(
    const byte* __restrict__ table, const int* __restrict__ starts, const float* __restrict__ weights, int height,
    int width, int luma_across_taps, int luma_down_taps, int chroma_across_taps, int chroma_down_taps,
    int luma_rounding, int chroma_rounding, float luma_share, float chroma_share, float mean_blue, float mean_green,
    float mean_red, float* __restrict__ reduced)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    if (x >= width) return;
    const Picture& picture = reinterpret_cast<const Picture*>(table)[blockIdx.z];
    uchar4 rgb;
    if (luma_across_taps == 0) {
        rgb = native(picture, row_of(picture, y), x);
    } else {
        const float* luma_down = weights + luma_across_taps * width;
        const float* chroma_across = luma_down + luma_down_taps * height;
        const float* chroma_down = chroma_across + chroma_across_taps * width;
        const int* chroma_starts = starts + width + height;
        const Reduction luma = {
            {starts, weights, luma_across_taps, width, picture.width - 1},
            {starts + width, luma_down, luma_down_taps, height, picture.height - 1},
            luma_rounding, luma_share};
        const Reduction chroma = {
            {chroma_starts, chroma_across, chroma_across_taps, width, (picture.width + 1) / 2 - 1},
            {chroma_starts + width, chroma_down, chroma_down_taps, height, (picture.height + 1) / 2 - 1},
            chroma_rounding, chroma_share};
        const int2 both = chroma_rounding == LINEAR ? linear_chroma(picture, chroma, x, y)
                                                    : reduced_chroma(picture, chroma, x, y);
        rgb = rgb_of(picture, reduced_luma(picture, luma, x, y), both.x, both.y);
    }
    const size_t plane = static_cast<size_t>(height) * width;
    float* out = reduced + blockIdx.z * 3 * plane + static_cast<size_t>(y) * width + x;
    out[0] = rgb.z - mean_blue;
    out[plane] = rgb.y - mean_green;
    out[2 * plane] = rgb.x - mean_red;
}
