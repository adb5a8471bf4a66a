"""The inner tile of the small-batch quantised matmul: sixteen outputs, one group of inputs.

Shared by all dialects are the shapes: of 32 lanes, lane 4 g + t looks at outputs g and g + 8,
takes in the t-th quarter of the group's inputs of each, and in the end owns rows 2 t and 2 t + 1
of those two outputs, in each block of eight rows. A group's whole numbers are multiplied first,
exactly, and scale and bias come after:

    y += scale * sum(q x) + bias * sum(x)

so that nothing is rounded before the sums, and a row's result does not depend on its fellows.
Metal's tile multiplies in plain float; CUDA's hands sixteen outputs, eight rows and sixteen
inputs at a time to the tensor cores, once with the weights and once with ones for sum(x).
"""

from __future__ import annotations

__all__ = ["CUDA_NUMBERS", "SHARED_PARTS", "TENSOR_TILE", "VECTOR_TILE"]

SHARED_PARTS = """
// So many words at consecutive places.
template <int Count> struct alignas(Count < 4 ? 4 * Count : 16) Words { unsigned int at[Count]; };
// Scales, then biases, of one output's groups that are brought together, two numbers a word.
template <int Depth> struct alignas(4 * Depth) Factors { unsigned int scale[Depth / 2], bias[Depth / 2]; };
// One output of one row, for activations that lie where no vector can be read.
template <int Bits, int Group, typename T>
FUNCTION float one_by_one(const DEVICE T* x, const DEVICE unsigned int* words,
                          const DEVICE T* scales, const DEVICE T* biases, int groups) {
  constexpr int each = 32 / Bits;
  float total = 0.0f;
  for (int group = 0; group < groups; ++group) {
    float sum = 0.0f, plain = 0.0f;
    for (int k = group * Group; k < (group + 1) * Group; ++k) {
      const unsigned int number = words[k / each] >> (Bits * (k % each)) & ((1u << Bits) - 1u);
      sum = fused(static_cast<float>(number), static_cast<float>(x[k]), sum);
      plain += static_cast<float>(x[k]);
    }
    total = fused(static_cast<float>(scales[group]), sum, total);
    total = fused(static_cast<float>(biases[group]), plain, total);
  }
  return total;
}
"""

VECTOR_TILE = """
// A lane's quarter of a group of inputs, of all rows.
template <typename T, int Bits, int Group, int Blocks> struct Slice {
  const DEVICE T* x;
  int stride;
  int rows;
};
template <typename T, int Bits, int Group, int Blocks> using Raw = Slice<T, Bits, Group, Blocks>;
template <typename T, int Bits, int Group, int Blocks> struct Rows {
  Slice<T, Bits, Group, Blocks> first;
  FUNCTION void aim(const DEVICE T* x, int inputs, int rows, int lane) {
    first.x = x + lane % 4 * (Group / 4);
    first.stride = inputs;
    first.rows = rows;
  }
  FUNCTION Raw<T, Bits, Group, Blocks> fetch(int group) {
    Raw<T, Bits, Group, Blocks> slice = first;
    slice.x += group * Group;
    return slice;
  }
  FUNCTION Slice<T, Bits, Group, Blocks> ready(Raw<T, Bits, Group, Blocks> raw) { return raw; }
};
template <typename T, int Bits, int Group, int Blocks> struct Tile {
  float sums[2][8 * Blocks];
  float owned[Blocks][4];
  FUNCTION void clear() {
    for (int n = 0; n < 8 * Blocks; ++n) sums[0][n] = sums[1][n] = 0.0f;
  }
  FUNCTION void add(Words<Group * Bits / 128> low, Words<Group * Bits / 128> high,
                    Slice<T, Bits, Group, Blocks> slice, Words<4> factors) {
    constexpr int each = 32 / Bits;
    constexpr unsigned int mask = (1u << Bits) - 1u;
    for (int n = 0; n < slice.rows; ++n) {
      float first = 0.0f, second = 0.0f, plain = 0.0f;
      for (int j = 0; j < Group * Bits / 128; ++j) {
        for (int i = 0; i < each; ++i) {
          const float value = static_cast<float>(slice.x[n * slice.stride + j * each + i]);
          first = fused(static_cast<float>((low.at[j] >> (Bits * i)) & mask), value, first);
          second = fused(static_cast<float>((high.at[j] >> (Bits * i)) & mask), value, second);
          plain += value;
        }
      }
      sums[0][n] = fused(as_number(factors.at[0]), first, sums[0][n]);
      sums[0][n] = fused(as_number(factors.at[1]), plain, sums[0][n]);
      sums[1][n] = fused(as_number(factors.at[2]), second, sums[1][n]);
      sums[1][n] = fused(as_number(factors.at[3]), plain, sums[1][n]);
    }
  }
  FUNCTION void finish(int lane) {
    for (int n = 0; n < 8 * Blocks; ++n) {
      for (int half = 0; half < 2; ++half) {
        const float whole = quad_sum(sums[half][n]);
        if (n % 8 / 2 == lane % 4) owned[n / 8][2 * half + n % 2] = whole;
      }
    }
  }
};
"""
"""Needs `fused`, `as_number` and `quad_sum`."""

TENSOR_TILE = """
template <int Bits> struct Unpacked;
template <> struct Unpacked<4> {
  // Pairs (i, i + 4) of a word's eight numbers, i = 0 ... 3, each with the offset on it.
  template <typename T> FUNCTION static void pairs(unsigned int word, unsigned int* out) {
    UNROLL for (int i = 0; i < 4; ++i)
      out[i] = with_nibbles(Numbers<T>::offset, word >> (4 * i));
  }
  template <typename T> FUNCTION static float offset() { return Numbers<T>::offset_value; }
  // The same pairs of x.
  FUNCTION static void order(unsigned int* x) {
    const unsigned int a = x[0], b = x[1], c = x[2], d = x[3];
    x[0] = permuted(a, c, 0x5410u);
    x[1] = permuted(a, c, 0x7632u);
    x[2] = permuted(b, d, 0x5410u);
    x[3] = permuted(b, d, 0x7632u);
  }
};
template <> struct Unpacked<8> {
  template <typename T> FUNCTION static void pairs(unsigned int word, unsigned int* out) {
    out[0] = Numbers<T>::bytes(word, 0x7650u, 0x7651u);
    out[1] = Numbers<T>::bytes(word, 0x7652u, 0x7653u);
  }
  template <typename T> FUNCTION static float offset() { return Numbers<T>::byte_offset_value; }
  FUNCTION static void order(unsigned int*) {}
};
// A lane's quarter of a group of inputs, of all rows: as it is read, and in the order of the words.
template <typename T, int Bits, int Group, int Blocks> struct Raw {
  Words<4> four[Blocks][Group / 32];
};
template <typename T, int Bits, int Group, int Blocks> struct Slice {
  unsigned int x[Blocks][Group / 8];
  // Of the group, for the two rows that a lane owns; and what sums begin with, so that no offset is left in them.
  float sums[Blocks][2], below[Blocks][4];
};
// Where rows are fewer than a block has, its last one stands in: what comes of it is not kept.
template <typename T, int Bits, int Group, int Blocks> struct Rows {
  const T* row[Blocks];
  FUNCTION void aim(const T* x, int inputs, int rows, int lane) {
    UNROLL for (int block = 0; block < Blocks; ++block) {
      const int wanted = 8 * block + lane / 4;
      row[block] = x + (wanted < rows ? wanted : rows - 1) * inputs + lane % 4 * (Group / 4);
    }
  }
  FUNCTION Raw<T, Bits, Group, Blocks> fetch(int group) {
    Raw<T, Bits, Group, Blocks> raw;
    UNROLL for (int block = 0; block < Blocks; ++block) {
      const Words<4>* from = reinterpret_cast<const Words<4>*>(row[block] + group * Group);
      UNROLL for (int j = 0; j < Group / 32; ++j) raw.four[block][j] = from[j];
    }
    return raw;
  }
  FUNCTION Slice<T, Bits, Group, Blocks> ready(const Raw<T, Bits, Group, Blocks>& raw) {
    Slice<T, Bits, Group, Blocks> slice;
    const unsigned int ones[4] = {Numbers<T>::ones, Numbers<T>::ones, Numbers<T>::ones,
                                  Numbers<T>::ones};
    UNROLL for (int block = 0; block < Blocks; ++block) {
      UNROLL for (int j = 0; j < Group / 8; ++j)
        slice.x[block][j] = raw.four[block][j / 4].at[j % 4];
      UNROLL for (int j = 0; j < Group / 8; j += 4) Unpacked<Bits>::order(&slice.x[block][j]);
      float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      UNROLL for (int j = 0; j < Group / 8; j += 2)
        Numbers<T>::multiply(sum, sum, ones, slice.x[block][j], slice.x[block][j + 1]);
      UNROLL for (int i = 0; i < 2; ++i) {
        slice.sums[block][i] = sum[i];
        slice.below[block][i] = slice.below[block][i + 2] = sum[i] * -Unpacked<Bits>::template offset<T>();
      }
    }
    return slice;
  }
};
template <typename T, int Bits, int Group, int Blocks> struct Tile {
  float owned[Blocks][4];
  FUNCTION void clear() {
    UNROLL for (int block = 0; block < Blocks; ++block)
      UNROLL for (int i = 0; i < 4; ++i) owned[block][i] = 0.0f;
  }
  FUNCTION void add(const Words<Group * Bits / 128>& low, const Words<Group * Bits / 128>& high,
                    const Slice<T, Bits, Group, Blocks>& slice, const Words<4>& factors) {
    constexpr int each = 16 / Bits;
    float sum[Blocks][4];
    UNROLL for (int j = 0; j < Group * Bits / 128; ++j) {
      unsigned int first[each], second[each];
      Unpacked<Bits>::template pairs<T>(low.at[j], first);
      Unpacked<Bits>::template pairs<T>(high.at[j], second);
      UNROLL for (int i = 0; i < each; i += 2) {
        const unsigned int weights[4] = {first[i], second[i], first[i + 1], second[i + 1]};
        UNROLL for (int block = 0; block < Blocks; ++block) {
          const unsigned int* x = &slice.x[block][j * each + i];
          Numbers<T>::multiply(sum[block], i + j == 0 ? slice.below[block] : sum[block], weights, x[0], x[1]);
        }
      }
    }
    UNROLL for (int half = 0; half < 2; ++half) {
      const float scale = as_number(factors.at[2 * half]), bias = as_number(factors.at[2 * half + 1]);
      UNROLL for (int block = 0; block < Blocks; ++block) {
        UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) {
          owned[block][i] = fused(scale, sum[block][i], owned[block][i]);
          owned[block][i] = fused(bias, slice.sums[block][i % 2], owned[block][i]);
        }
      }
    }
  }
  FUNCTION void finish(int) {}
};
"""
"""Needs `fused`, `as_number`, `permuted`, `with_nibbles` and, for each type, `Numbers`: how pairs of its numbers
are made and multiplied; see `CUDA_NUMBERS`."""

CUDA_NUMBERS = """
__device__ inline unsigned int permuted(unsigned int a, unsigned int b, unsigned int order) {
  return __byte_perm(a, b, order);
}
// onto | a & 0x000f000f, in one instruction.
__device__ inline unsigned int with_nibbles(unsigned int onto, unsigned int a) {
  unsigned int result;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(a), "n"(0x000f000f), "r"(onto));
  return result;
}
// Pairs of 16-bit numbers in a word: `offset` turns a whole number in the lowest bits into
// offset + number, exactly; `bytes` makes two of a word's four bytes.
template <typename T> struct Numbers;
template <> struct Numbers<__nv_bfloat16> {
  static constexpr unsigned int offset = 0x43004300u;
  static constexpr unsigned int ones = 0x3f803f80u;
  static constexpr float offset_value = 128.0f;
  static constexpr float byte_offset_value = 0.0f;
  FUNCTION static unsigned int bytes(unsigned int word, unsigned int low, unsigned int high) {
    const float first = as_number(__byte_perm(word, 0x4b000000u, low)) - 8388608.0f;
    const float second = as_number(__byte_perm(word, 0x4b000000u, high)) - 8388608.0f;
    return __byte_perm(as_bits(first), as_bits(second), 0x7632u);
  }
  FUNCTION static void multiply(float* sum, const float* onto, const unsigned int* a, unsigned int b0, unsigned int b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=f"(sum[0]), "=f"(sum[1]), "=f"(sum[2]), "=f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1),
          "f"(onto[0]), "f"(onto[1]), "f"(onto[2]), "f"(onto[3]));
  }
};
template <> struct Numbers<__half> {
  static constexpr unsigned int offset = 0x64006400u;
  static constexpr unsigned int ones = 0x3c003c00u;
  static constexpr float offset_value = 1024.0f;
  static constexpr float byte_offset_value = 1024.0f;
  FUNCTION static unsigned int bytes(unsigned int word, unsigned int low, unsigned int high) {
    return __byte_perm(word, 0x64646464u, (low & 3u) | 0x40u | (high & 3u) << 8 | 0x4000u);
  }
  FUNCTION static void multiply(float* sum, const float* onto, const unsigned int* a, unsigned int b0, unsigned int b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=f"(sum[0]), "=f"(sum[1]), "=f"(sum[2]), "=f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1),
          "f"(onto[0]), "f"(onto[1]), "f"(onto[2]), "f"(onto[3]));
  }
};
"""
