#include "checkpoint/torch_pickle.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "checkpoint/pickle.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/strict_json.h"
#include "checkpoint/zip_directory.h"

namespace updraft::checkpoint {
namespace {

constexpr int64_t kLargestPickle = 16 << 20;  // real ones have about 100 bytes to a tensor
constexpr size_t kMostDimensions = 16;

struct TypeName {
  std::string_view torch;        // as a pickled global
  std::string_view safetensors;  // the same type by safetensors' name
};
// A storage of no type: the tensor itself names one.
constexpr std::string_view kUntyped = "untyped";
constexpr TypeName kTypes[] = {
    {"torch FloatStorage", "F32"},  {"torch HalfStorage", "F16"}, {"torch BFloat16Storage", "BF16"},
    {"torch DoubleStorage", "F64"}, {"torch LongStorage", "I64"}, {"torch IntStorage", "I32"},
    {"torch ShortStorage", "I16"},  {"torch CharStorage", "I8"},  {"torch ByteStorage", "U8"},
    {"torch BoolStorage", "BOOL"},  {"torch float32", "F32"},     {"torch float16", "F16"},
    {"torch bfloat16", "BF16"},     {"torch float64", "F64"},     {"torch int64", "I64"},
    {"torch int32", "I32"},         {"torch int16", "I16"},       {"torch int8", "I8"},
    {"torch uint8", "U8"},          {"torch bool", "BOOL"},       {"torch.storage UntypedStorage", kUntyped}};

struct Storage {
  std::string_view type;  // safetensors' name, or kUntyped
  ZipEntry place;
};

// Reads the state dict's values; every method names the tensor it was reading when something is wrong.
class StateDict {
 public:
  StateDict(const Pickle& pickle, const std::map<std::string, ZipEntry>& entries, std::string root, std::string where)
      : pickle_(pickle), entries_(entries), root_(std::move(root)), where_(std::move(where)) {}

  std::vector<StoredTensor> read() {
    std::vector<StoredTensor> tensors;
    std::set<std::string> names;
    const std::vector<PickleId> items = dict_items(pickle_.root);
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      const PickleValue& key = pickle_[items[i]];
      if (key.kind != PickleKind::kText) fail("{}: a key of its state dict is not a string.", where_);
      name_ = key.text;
      if (!names.insert(name_).second) wrong("is there twice");
      if (is_tensor(items[i + 1])) tensors.push_back(read_tensor(items[i + 1]));
    }
    return tensors;
  }

 private:
  [[noreturn]] void wrong(const std::string& what) const { fail("{}: tensor {}: {}.", where_, show(name_), what); }

  std::vector<PickleId> dict_items(PickleId id) const {
    const PickleValue& value = pickle_[id];
    if (value.kind == PickleKind::kDict) return value.items;
    if (value.kind == PickleKind::kCall && pickle_[value.items[0]].text == "collections OrderedDict")
      return {value.items.begin() + 2, value.items.end()};
    if (value.kind == PickleKind::kCall) refuse_global(pickle_[value.items[0]].text);
    fail("{}: holds no state dict (a dict from names to tensors).", where_);
  }

  [[noreturn]] void refuse_global(std::string global) const {
    std::replace(global.begin(), global.end(), ' ', '.');
    fail(
        "{}: asks to run {}, which is not needed to hold weights and is never executed; save the model again as "
        "safetensors.",
        where_, show(global));
  }

  // Values that are no tensors (counters, flags) are none of our business; a call that is not known is refused.
  bool is_tensor(PickleId id) const {
    const PickleValue& value = pickle_[id];
    const bool dict = value.kind == PickleKind::kDict ||
                      (value.kind == PickleKind::kCall && pickle_[value.items[0]].text == "collections OrderedDict");
    if (dict) wrong("is a dict: this is the checkpoint of a training, not a model's weights");
    return value.kind == PickleKind::kCall;
  }

  const std::vector<PickleId>& arguments(const PickleValue& call, size_t least) const {
    const std::vector<PickleId>& items = pickle_[call.items[1]].items;
    if (items.size() < least) wrong("has too few parts");
    return items;
  }

  StoredTensor read_tensor(PickleId id) const {
    constexpr int kDeepestParameter = 4;  // a Parameter holds a tensor; nothing nests them
    for (int depth = 0; depth < kDeepestParameter; ++depth) {
      const PickleValue& value = pickle_[id];
      if (value.kind != PickleKind::kCall) break;
      const std::string& callable = pickle_[value.items[0]].text;
      if (callable == "torch._utils _rebuild_tensor_v2") return rebuild(arguments(value, 6), false);
      if (callable == "torch._utils _rebuild_tensor_v3") return rebuild(arguments(value, 7), true);
      const bool parameter =
          callable == "torch._utils _rebuild_parameter" || callable == "torch.nn.parameter Parameter";
      if (!parameter) refuse_global(callable);
      id = arguments(value, 1)[0];
    }
    wrong("is not a tensor");
  }

  int64_t integer(PickleId id) const {
    if (pickle_[id].kind != PickleKind::kInteger || pickle_[id].integer < 0) wrong("a size is not a whole number");
    return pickle_[id].integer;
  }

  // A tuple of sizes, plain or as torch.Size.
  std::vector<int64_t> integers(PickleId id) const {
    const PickleValue* value = &pickle_[id];
    if (value->kind == PickleKind::kCall && pickle_[value->items[0]].text == "torch Size")
      value = &pickle_[arguments(*value, 1)[0]];
    if (value->kind != PickleKind::kTuple && value->kind != PickleKind::kList) wrong("its shape is not a tuple");
    if (value->items.size() > kMostDimensions) wrong("has too many dimensions");
    std::vector<int64_t> all;
    for (const PickleId item : value->items) all.push_back(integer(item));
    return all;
  }

  std::string_view type_of(PickleId id) const {
    const PickleValue& global = pickle_[id];
    if (global.kind != PickleKind::kGlobal) wrong("its type is not a name");
    for (const TypeName& type : kTypes)
      if (type.torch == global.text) return type.safetensors;
    refuse_global(global.text);
  }

  // ('storage', type, key, device, elements): the bytes are the archive's entry data/<key>.
  Storage read_storage(PickleId id) const {
    const PickleValue& persistent = pickle_[id];
    if (persistent.kind != PickleKind::kPersistent) wrong("has no storage");
    const PickleValue& parts = pickle_[persistent.items[0]];
    const bool good = parts.kind == PickleKind::kTuple && parts.items.size() >= 5 &&
                      pickle_[parts.items[0]].text == "storage" && pickle_[parts.items[2]].kind == PickleKind::kText;
    if (!good) wrong("its storage is not described as PyTorch does");
    Storage storage;
    storage.type = type_of(parts.items[1]);
    const std::string& key = pickle_[parts.items[2]].text;
    const auto entry = entries_.find(root_ + "data/" + key);
    if (entry == entries_.end()) wrong("its storage " + show(key) + " is not in the archive");
    storage.place = entry->second;
    const int64_t unit = storage.type == kUntyped ? 1 : bits_of_safetensors_type(storage.type) / 8;
    if (integer(parts.items[4]) > storage.place.bytes / unit)
      wrong(fmt::format("its storage should have {} elements, but the archive holds {} bytes", integer(parts.items[4]),
                        storage.place.bytes));
    return storage;
  }

  // v2: storage, offset, size, stride, requires_grad, hooks; v3: the same and the dtype (the storage has none).
  StoredTensor rebuild(const std::vector<PickleId>& parts, bool names_type) const {
    const Storage storage = read_storage(parts[0]);
    StoredTensor tensor;
    tensor.name = name_;
    tensor.type = names_type ? type_of(parts[6]) : storage.type;
    if (tensor.type == kUntyped) wrong("has no type");
    tensor.shape = integers(parts[2]);
    const std::vector<int64_t> strides = integers(parts[3]);
    if (strides.size() != tensor.shape.size()) wrong("its shape and strides differ in length");
    const int64_t unit = bits_of_safetensors_type(tensor.type) / 8;
    const std::optional<int64_t> elements = element_count(tensor.shape);
    if (!elements || __builtin_mul_overflow(*elements, unit, &tensor.bytes))
      wrong("its shape " + show_shape(tensor.shape) + " is too large");
    const int64_t offset = integer(parts[1]), available = storage.place.bytes / unit;
    tensor.row_stride = row_stride(tensor.shape, strides);
    const std::optional<int64_t> reach = *elements == 0 ? 0 : extent(tensor.shape, strides);
    if (offset > available || !reach || *reach > available - offset)
      wrong(fmt::format("reaches outside its storage of {} bytes", storage.place.bytes));
    tensor.begin = storage.place.begin + offset * unit;
    return tensor;
  }

  // Elements from the first to behind the last.
  static std::optional<int64_t> extent(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
    int64_t reach = 1;
    for (size_t i = 0; i < shape.size(); ++i) {
      int64_t step = 0;
      if (__builtin_mul_overflow(shape[i] - 1, strides[i], &step) || __builtin_add_overflow(reach, step, &reach))
        return std::nullopt;
    }
    return reach;
  }

  // 0 where the elements follow one another; the stride of the rows of a matrix cut from a wider one.
  int64_t row_stride(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) const {
    int64_t packed = 1;
    bool contiguous = true;
    for (size_t i = shape.size(); i-- > 0;) {
      contiguous = contiguous && (shape[i] <= 1 || strides[i] == packed);
      if (shape[i] == 0) return 0;
      packed *= shape[i];  // fits: element_count has checked
    }
    if (contiguous) return 0;
    if (shape.size() == 2 && (shape[1] == 1 || strides[1] == 1) && strides[0] > 0) return strides[0];
    wrong("is a transposed or otherwise strided view (strides " + show_shape(strides) +
          "); save the model again as safetensors");
  }

  const Pickle& pickle_;
  const std::map<std::string, ZipEntry>& entries_;
  const std::string root_;  // "archive/"
  const std::string where_;
  std::string name_;  // of the tensor being read
};

void refuse_other_formats(const RandomAccess& file) {
  std::string head(size_t(std::min<int64_t>(file.size(), 512)), '\0');
  file.read_at(0, head.data(), int64_t(head.size()));
  if (head.starts_with("PK\3\4")) return;
  const bool pickled =
      head.starts_with(std::string_view("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14));
  const bool tar = head.size() > 262 && head.compare(257, 5, "ustar") == 0;
  if (pickled || tar)
    fail("{}: is in the format of PyTorch before 1.6, which is not supported; convert the model to safetensors.",
         file.where());
  fail("{}: is not a file of PyTorch (a zip archive), or is damaged; fetch it again.", file.where());
}

std::string read_entry(const RandomAccess& file, const ZipEntry& entry, int64_t limit, const char* name) {
  if (entry.bytes > limit) fail("{}: its entry {} has {} bytes, too many.", file.where(), name, entry.bytes);
  std::string text(size_t(entry.bytes), '\0');
  file.read_at(entry.begin, text.data(), entry.bytes);
  return text;
}

}  // namespace

std::vector<StoredTensor> read_torch_file(const RandomAccess& file) {
  refuse_other_formats(file);
  const std::map<std::string, ZipEntry> entries = read_zip_directory(file);
  // Everything lies in one folder, whose name is the writer's choice.
  const auto pickled = std::find_if(entries.begin(), entries.end(), [](const auto& entry) {
    return entry.first.ends_with("/data.pkl") && std::count(entry.first.begin(), entry.first.end(), '/') == 1;
  });
  if (pickled == entries.end()) fail("{}: the archive has no data.pkl: it is not a file of PyTorch.", file.where());
  const std::string root = pickled->first.substr(0, pickled->first.find('/') + 1);
  if (const auto order = entries.find(root + "byteorder"); order != entries.end()) {
    if (read_entry(file, order->second, 16, "byteorder") != "little")
      fail("{}: was written on a big-endian machine, which is not supported; convert it to safetensors.", file.where());
  }
  const std::string where = file.where();
  const Pickle pickle = parse_pickle(read_entry(file, pickled->second, kLargestPickle, "data.pkl"), where);
  return StateDict(pickle, entries, root, where).read();
}

}  // namespace updraft::checkpoint
