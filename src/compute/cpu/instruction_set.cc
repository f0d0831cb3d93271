#include "compute/cpu/instruction_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <fstream>
#include <string_view>

#include "base/error.h"
#include "compute/cpu/prefetch_distance.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace updraft::compute::cpu {
namespace {

#if defined(__x86_64__)

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

constexpr bool has(unsigned word, int bit) { return ((word >> bit) & 1u) != 0; }

// Which register files the operating system saves: XCR0.
uint64_t saved_state() {
  if (!has(cpuid(1, 0).ecx, 27)) return 0;  // OSXSAVE
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t(high) << 32) | low;
}

// Hygon's processors are AMD's first Zen.
bool made_by_amd() {
  const Registers zero = cpuid(0, 0);
  char vendor[12];
  std::memcpy(vendor, &zero.ebx, 4);
  std::memcpy(vendor + 4, &zero.edx, 4);
  std::memcpy(vendor + 8, &zero.ecx, 4);
  const std::string_view name(vendor, sizeof vendor);
  return name == "AuthenticAMD" || name == "HygonGenuine";
}

constexpr uint64_t kYmmState = 0x6;

bool has_avx2() {
  const Registers one = cpuid(1, 0), seven = cpuid(7, 0);
  return has(one.ecx, 12) && has(one.ecx, 28) && has(one.ecx, 29) && has(seven.ebx, 5) &&  // FMA, AVX, F16C, AVX2
         (saved_state() & kYmmState) == kYmmState;
}

bool has_avx_vnni() { return has_avx2() && has(cpuid(7, 1).eax, 4); }

#if !defined(UPDRAFT_AVX2_ALONE)  // flags.cmake

constexpr uint64_t kZmmState = 0xe6, kTileState = 0x60000;

bool has_avx512() {
  const Registers seven = cpuid(7, 0);
  return has_avx2() && has(seven.ebx, 16) && has(seven.ebx, 17) && has(seven.ebx, 30) &&
         has(seven.ebx, 31) &&  // F DQ BW VL
         (saved_state() & kZmmState) == kZmmState;
}

// Tile registers are 8 KiB a thread: the kernel saves them only for a process that has asked.
bool has_tiles() {
  const Registers seven = cpuid(7, 0);
  if (!has(seven.edx, 22) || !has(seven.edx, 24)) return false;  // AMX-BF16, AMX-TILE
  if ((saved_state() & kTileState) != kTileState) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool has_avx512_vnni() { return has_avx512() && has(cpuid(7, 0).ecx, 11); }

bool has_amx_int8() { return has_avx512_vnni() && has_tiles() && has(cpuid(7, 0).edx, 25); }

const Kernels& wide_kernels() {
  static const Kernels kernels = [] {
    Kernels best = kernels_avx512();
    if (has_avx512_vnni()) best.attention = attention_avx512vnni();
    return best;
  }();
  return kernels;
}

void add_wide(std::vector<InstructionSet>& sets, const IntegerKernels* narrow) {
  const IntegerKernels* wide = has_avx512_vnni() ? &integer_avx512vnni() : narrow;
  if (has_avx512()) sets.push_back({"avx512", &wide_kernels(), nullptr, wide});
  if (has_avx512() && has_tiles())
    sets.push_back({"avx512+amx", &wide_kernels(), &kernels_amx(), has_amx_int8() ? &integer_amx() : wide});
}

void add_wide(std::vector<const Kernels*>& found) {
  if (has_avx512()) found.push_back(&kernels_avx512());
  if (has_avx512_vnni()) found.push_back(&wide_kernels());
}

void add_wide(std::vector<const IntegerKernels*>& found) {
  if (has_avx512_vnni()) found.push_back(&integer_avx512vnni());
  if (has_amx_int8()) found.push_back(&integer_amx());
}

#else

void add_wide(std::vector<InstructionSet>&, const IntegerKernels*) {}
void add_wide(std::vector<const Kernels*>&) {}
void add_wide(std::vector<const IntegerKernels*>&) {}

#endif

std::vector<InstructionSet> find_instruction_sets() {
  std::vector<InstructionSet> sets;
  const IntegerKernels* integers = has_avx_vnni() ? &integer_avxvnni() : &integer_avx2();
  if (has_avx2()) sets.push_back({"avx2", &kernels_avx2(), nullptr, integers});
  add_wide(sets, integers);
  const bool amd = made_by_amd();
  for (InstructionSet& set : sets) {
    if (amd) set.products_to_ask_ahead = kProductsToAskAheadOnAmd;
    if (!amd) set.striped_bytes = kStripedBytes;
  }
  return sets;
}

std::vector<const Kernels*> find_kernels() {
  std::vector<const Kernels*> found;
  if (has_avx2()) found.push_back(&kernels_avx2());
  add_wide(found);
  return found;
}

std::vector<const IntegerKernels*> find_integer_kernels() {
  std::vector<const IntegerKernels*> found = {&integer_generic()};
  if (has_avx2()) found.push_back(&integer_avx2());
  if (has_avx_vnni()) found.push_back(&integer_avxvnni());
  add_wide(found);
  return found;
}

constexpr const char* kNeeded = "AVX2, FMA and F16C";

#else

bool has_dot_products() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }

std::vector<InstructionSet> find_instruction_sets() {
  return {{"neon", &kernels_neon(), nullptr, has_dot_products() ? &integer_neondot() : &integer_neon()}};
}

std::vector<const Kernels*> find_kernels() { return {&kernels_neon()}; }

std::vector<const IntegerKernels*> find_integer_kernels() {
  std::vector<const IntegerKernels*> found = {&integer_generic(), &integer_neon()};
  if (has_dot_products()) found.push_back(&integer_neondot());
  return found;
}

constexpr const char* kNeeded = "Advanced SIMD";

#endif

}  // namespace

std::vector<InstructionSet> available_instruction_sets() {
  static const std::vector<InstructionSet> sets = find_instruction_sets();
  return sets;
}

std::vector<const Kernels*> available_kernels() {
  static const std::vector<const Kernels*> tables = find_kernels();
  return tables;
}

std::vector<const IntegerKernels*> available_integer_kernels() {
  static const std::vector<const IntegerKernels*> tables = find_integer_kernels();
  return tables;
}

InstructionSet choose_instruction_set(const std::string& name) {
  const std::vector<InstructionSet> sets = available_instruction_sets();
  if (sets.empty())
    fail("This processor ({}) lacks {}, which the cpu machine needs; use --device reference.", processor_name(),
         kNeeded);
  if (name.empty()) return sets.back();
  std::vector<std::string> names;
  for (const InstructionSet& set : sets) {
    if (set.name == name) return set;
    names.push_back(set.name);
  }
  fail("Instruction set {} is not available here: this processor ({}) and its kernel grant {}.", name, processor_name(),
       fmt::join(names, ", "));
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name") || line.starts_with("Model"))
      if (const size_t colon = line.find(": "); colon != std::string::npos) return line.substr(colon + 2);
  return "unknown processor";
}

}  // namespace updraft::compute::cpu
