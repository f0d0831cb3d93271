// Runs the stack machine of Python's pickle over bytes and gives the value back as plain data. It knows the
// instructions that PyTorch writes for a state dict, and executes nothing: a global is a name, a call is a record of
// (name, arguments) which the caller may read or refuse. Any input ends in a value or an Error; memory stays in
// proportion to the input. Source: Python's Lib/pickletools.py; the set of instructions is the one of
// torch/_weights_only_unpickler.py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace updraft::checkpoint {

using PickleId = uint32_t;  // of a value in Pickle::values

enum class PickleKind : uint8_t {
  kMark,  // only on the stack while reading
  kNone,
  kBool,
  kInteger,
  kNumber,
  kText,
  kTuple,
  kList,
  kSet,
  kDict,        // items: key, value, key, value, ...
  kGlobal,      // text: "module name"
  kCall,        // items: the callable, the tuple of its arguments
  kPersistent,  // items: the persistent id
};

// A tree would be destroyed by recursion, as deep as the input likes: values refer to one another by number.
struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  int64_t integer = 0;  // kBool, kInteger
  double number = 0;
  std::string text;
  std::vector<PickleId> items;
};

struct Pickle {
  std::vector<PickleValue> values;
  PickleId root = 0;

  const PickleValue& operator[](PickleId id) const { return values[id]; }
};

Pickle parse_pickle(std::string_view bytes, const std::string& where);

}  // namespace updraft::checkpoint
