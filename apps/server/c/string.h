/* The one function of string.h that the kernels need, where there is no C library. */
#define memcpy __builtin_memcpy
