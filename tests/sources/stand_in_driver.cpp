// Stands in for libcuda and libnvcuvid in tests: GPU memory is main memory, and NVDEC "decodes" the k-th picture that it
// is given to luma 20 + 4 * k, U 100 and V 200. Every call is noted on stderr. Structures are laid out as in NVIDIA's
// Video Codec SDK and CUDA driver API; those functions of libcuda that FFmpeg looks for and that do nothing here are
// added by the test as NOTHING(name).
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define NOTE(name) fprintf(stderr, "CALLS %s\n", name)
#define NOTHING(name) \
  int name() {        \
    NOTE(#name);      \
    return 0;         \
  }

typedef unsigned long long Address;

struct Copy2D {  // CUDA_MEMCPY2D
  size_t src_x, src_y;
  int src_kind;
  const void* src_host;
  Address src_device;
  void* src_array;
  size_t src_pitch, dst_x, dst_y;
  int dst_kind;
  void* dst_host;
  Address dst_device;
  void* dst_array;
  size_t dst_pitch, width_bytes, height;
};

struct Caps {  // CUVIDDECODECAPS
  int codec, chroma;
  unsigned bits_above_8, reserved[3];
  unsigned char is_supported, engines;
  unsigned short outputs;
  unsigned most_width, most_height, most_blocks;
  unsigned short least_width, least_height;
  unsigned rest[11];
};

struct CreateInfo {  // the beginning of CUVIDDECODECREATEINFO
  unsigned long width, height, surfaces;
};

struct PicParams {  // the beginning of CUVIDPICPARAMS
  int blocks_x, blocks_y, surface;
};

static const int HOST = 1;
static const size_t PITCH = 512;

struct Decoder {
  size_t width, height, pitch;
  int decoded;
  unsigned char* surfaces[64];
};

static int limit(const char* name) {
  const char* text = getenv(name);
  return text ? atoi(text) : 1 << 30;
}

extern "C" {

int cuCtxGetCurrent(void** context) {
  NOTE("cuCtxGetCurrent");
  *context = (void*)0x1234;
  return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int) {
  NOTE("cuDevicePrimaryCtxRetain");
  *context = (void*)0x1234;
  return 0;
}
int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* is_active) {
  NOTE("cuDevicePrimaryCtxGetState");
  *flags = 0;  // which torch and CuPy leave, and FFmpeg refuses
  *is_active = 1;
  return 0;
}
int cuDeviceGetAttribute(int* value, int, int) {
  *value = PITCH;
  return 0;
}
int cuGetErrorName(int, const char** text) {
  *text = "STAND_IN";
  return 0;
}
int cuGetErrorString(int, const char** text) {
  *text = "a stand-in";
  return 0;
}
int cuMemAlloc_v2(Address* address, size_t bytes) {
  NOTE("cuMemAlloc_v2");
  *address = (Address)calloc(1, bytes);
  return 0;
}
int cuMemFree_v2(Address address) {
  NOTE("cuMemFree_v2");
  free((void*)address);
  return 0;
}
int cuMemcpy2DAsync_v2(const Copy2D* copy, void* stream) {
  NOTE(stream ? "cuMemcpy2DAsync_v2 elsewhere" : "cuMemcpy2DAsync_v2 default");
  const char* from = copy->src_kind == HOST ? (const char*)copy->src_host : (const char*)copy->src_device;
  char* to = copy->dst_kind == HOST ? (char*)copy->dst_host : (char*)copy->dst_device;
  for (size_t row = 0; row < copy->height; row++) {
    memcpy(to + (copy->dst_y + row) * copy->dst_pitch + copy->dst_x,
           from + (copy->src_y + row) * copy->src_pitch + copy->src_x, copy->width_bytes);
  }
  return 0;
}

#ifdef NVCUVID
int cuvidGetDecoderCaps(Caps* caps) {
  NOTE("cuvidGetDecoderCaps");
  caps->is_supported = caps->codec == 4 || caps->codec == 10;  // H.264 and VP9
  caps->outputs = 3;
  caps->most_width = caps->most_height = 4096;
  caps->most_blocks = 65536;
  caps->least_width = caps->least_height = 48;
  return 0;
}
int cuvidCreateDecoder(void** decoder, CreateInfo* info) {
  NOTE("cuvidCreateDecoder");
  static int created = 0;
  if (created++ >= limit("MOST_DECODERS")) return 2;  // out of memory
  Decoder* made = (Decoder*)calloc(1, sizeof(Decoder));
  made->width = info->width;
  made->height = info->height;
  made->pitch = (info->width + PITCH - 1) / PITCH * PITCH;
  for (size_t k = 0; k < info->surfaces && k < 64; k++) {
    made->surfaces[k] = (unsigned char*)calloc(made->pitch, made->height + (made->height + 1) / 2);
  }
  *decoder = made;
  return 0;
}
int cuvidDestroyDecoder(Decoder* decoder) {
  NOTE("cuvidDestroyDecoder");
  for (int k = 0; k < 64; k++) free(decoder->surfaces[k]);
  free(decoder);
  return 0;
}
int cuvidDecodePicture(Decoder* decoder, PicParams* picture) {
  NOTE("cuvidDecodePicture");
  if (decoder->decoded >= limit("MOST_PICTURES")) return 719;  // launch failed: the GPU fell off the bus
  unsigned char* surface = decoder->surfaces[picture->surface];
  size_t luma = decoder->pitch * decoder->height;
  memset(surface, 20 + 4 * (decoder->decoded++ % 50), luma);
  for (size_t k = luma; k < luma + decoder->pitch * ((decoder->height + 1) / 2); k += 2) {
    surface[k] = 100;
    surface[k + 1] = 200;
  }
  return 0;
}
int cuvidMapVideoFrame64(Decoder* decoder, int surface, Address* address, unsigned* pitch, void*) {
  NOTE("cuvidMapVideoFrame64");
  *address = (Address)decoder->surfaces[surface];
  *pitch = decoder->pitch;
  return 0;
}
int cuvidUnmapVideoFrame64(Decoder*, Address) {
  NOTE("cuvidUnmapVideoFrame64");
  return 0;
}
#endif
