// The small luma in which faces are followed from frame to frame: halved again and again, rounded each time.
//
// Reference: stream_detect.faces.flow.small_luma (OpenCV); a test holds this kernel to it, to the last bit.
//
// small_luma: one thread a pixel of the small picture, any grid and block that cover them.
//   plane     (rows, pitch) unsigned char   luma as it is stored; what fills no whole block is not read
//   pitch     int                           bytes from row to row
//   halvings  int in 0..MOST_HALVINGS
//   height    int                           of the small picture: rows of the plane halved so often, rounded down
//   width     int                           likewise
//   small     (height, width) unsigned char out
//   moves the luma in once and 1 / 4^halvings of it out.

#define MOST_HALVINGS 6

template <int HALVINGS>
__device__ int rounded_mean(const unsigned char* plane, int pitch, int y, int x) {
  int sum = 2;
  for (int part = 0; part < 4; part++) {
    sum += rounded_mean<HALVINGS - 1>(plane, pitch, 2 * y + (part >> 1), 2 * x + (part & 1));
  }
  return sum >> 2;
}

template <>
__device__ int rounded_mean<0>(const unsigned char* plane, int pitch, int y, int x) {
  return plane[(size_t)y * pitch + x];
}

extern "C" __global__ void small_luma(const unsigned char* plane, int pitch, int halvings, int height, int width,
                                      unsigned char* small) {
  const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
  if (pixel >= height * width) return;
  const int y = pixel / width, x = pixel % width;
  int mean = 0;
  switch (halvings) {
    case 0: mean = rounded_mean<0>(plane, pitch, y, x); break;
    case 1: mean = rounded_mean<1>(plane, pitch, y, x); break;
    case 2: mean = rounded_mean<2>(plane, pitch, y, x); break;
    case 3: mean = rounded_mean<3>(plane, pitch, y, x); break;
    case 4: mean = rounded_mean<4>(plane, pitch, y, x); break;
    case 5: mean = rounded_mean<5>(plane, pitch, y, x); break;
    case 6: mean = rounded_mean<6>(plane, pitch, y, x); break;
  }
  small[pixel] = (unsigned char)mean;
}
