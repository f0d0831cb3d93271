#include "checkpoint/pickle.h"

#include <bit>
#include <unordered_map>

#include "base/error.h"

namespace updraft::checkpoint {
namespace {

class Machine {
 public:
  Machine(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  Pickle run() {
    while (!stopped_) step();
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void damaged(const char* what) const {
    fail("{}: its pickle is damaged at byte {}: {}; fetch the file again.", where_, at_, what);
  }

  std::string_view take(size_t count) {
    if (bytes_.size() - at_ < count) damaged("it ends too early");
    const std::string_view part = bytes_.substr(at_, count);
    at_ += count;
    return part;
  }

  uint64_t take_number(size_t width) {
    const std::string_view part = take(width);
    uint64_t value = 0;
    for (size_t i = width; i-- > 0;) value = value << 8 | static_cast<unsigned char>(part[i]);
    return value;
  }

  std::string_view take_line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) damaged("a line has no end");
    const std::string_view line = bytes_.substr(at_, end - at_);
    at_ = end + 1;
    return line;
  }

  PickleId add(PickleValue value) {
    pickle_.values.push_back(std::move(value));
    return PickleId(pickle_.values.size() - 1);
  }
  void push(PickleValue value) { stack_.push_back(add(std::move(value))); }
  void push_integer(int64_t value) { push({PickleKind::kInteger, value, 0, {}, {}}); }
  void push_text(std::string_view text) { push({PickleKind::kText, 0, 0, std::string(text), {}}); }

  PickleId pop() {
    if (stack_.empty()) damaged("nothing is left to take");
    const PickleId top = stack_.back();
    if (pickle_.values[top].kind == PickleKind::kMark) damaged("a mark is where a value should be");
    stack_.pop_back();
    return top;
  }

  PickleValue& top(PickleKind kind) {
    if (stack_.empty() || pickle_.values[stack_.back()].kind != kind) damaged("a container is missing");
    return pickle_.values[stack_.back()];
  }

  // Everything above the last mark, which goes too.
  std::vector<PickleId> pop_to_mark() {
    size_t begin = stack_.size();
    while (begin > 0 && pickle_.values[stack_[begin - 1]].kind != PickleKind::kMark) --begin;
    if (begin == 0) damaged("a mark is missing");
    std::vector<PickleId> items(stack_.begin() + std::ptrdiff_t(begin), stack_.end());
    stack_.resize(begin - 1);
    return items;
  }

  void push_tuple(size_t count) {
    PickleValue tuple{PickleKind::kTuple, 0, 0, {}, std::vector<PickleId>(count)};
    for (size_t i = count; i-- > 0;) tuple.items[i] = pop();
    push(std::move(tuple));
  }

  void extend(PickleKind kind, const std::vector<PickleId>& items) {
    if (kind == PickleKind::kDict && items.size() % 2 != 0) damaged("a key has no value");
    std::vector<PickleId>& into = kind == PickleKind::kDict ? dict_items() : top(kind).items;
    into.insert(into.end(), items.begin(), items.end());
  }

  // A dict, or the call that makes an OrderedDict, which holds its items behind callable and arguments.
  std::vector<PickleId>& dict_items() {
    if (stack_.empty()) damaged("a dict is missing");
    PickleValue& value = pickle_.values[stack_.back()];
    if (value.kind == PickleKind::kDict) return value.items;
    if (value.kind == PickleKind::kCall && pickle_.values[value.items[0]].text == "collections OrderedDict")
      return value.items;
    damaged("items are set on something that is not a dict");
  }

  void call() {
    const PickleId arguments = pop(), callable = pop();
    if (pickle_.values[callable].kind != PickleKind::kGlobal || pickle_.values[arguments].kind != PickleKind::kTuple)
      damaged("a call needs a global and a tuple");
    push({PickleKind::kCall, 0, 0, {}, {callable, arguments}});
  }

  void push_long() {
    const size_t width = size_t(take_number(1));
    if (width > 8) damaged("a whole number has more than 64 bits");
    uint64_t value = take_number(width);
    if (width > 0 && width < 8 && (value >> (width * 8 - 1)) != 0) value |= ~uint64_t(0) << (width * 8);
    push_integer(int64_t(value));
  }

  void push_number() {
    uint64_t bits = 0;
    for (const char byte : take(8)) bits = bits << 8 | static_cast<unsigned char>(byte);
    push({PickleKind::kNumber, 0, std::bit_cast<double>(bits), {}, {}});
  }

  void push_global() {
    const std::string_view module = take_line(), name = take_line();
    push({PickleKind::kGlobal, 0, 0, std::string(module) + " " + std::string(name), {}});
  }

  void remember(uint64_t slot) {
    const PickleId value = pop();
    stack_.push_back(value);
    memo_[slot] = value;
  }

  void recall(uint64_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) damaged("a value is recalled that was never kept");
    stack_.push_back(found->second);
  }

  void step() {
    const unsigned char instruction = static_cast<unsigned char>(take(1)[0]);
    if (!push_simple(instruction) && !build(instruction))
      fail(
          "{}: its pickle uses the instruction 0x{:02x}, which a state dict does not need; save it again as "
          "safetensors.",
          where_, instruction);
  }

  // Instructions that push a value or touch the memo.
  bool push_simple(unsigned char instruction) {
    switch (instruction) {
      case '(':
        push({PickleKind::kMark, 0, 0, {}, {}});
        return true;
      case 'N':
        push({PickleKind::kNone, 0, 0, {}, {}});
        return true;
      case 0x88:
        push({PickleKind::kBool, 1, 0, {}, {}});
        return true;
      case 0x89:
        push({PickleKind::kBool, 0, 0, {}, {}});
        return true;
      case '}':
        push({PickleKind::kDict, 0, 0, {}, {}});
        return true;
      case ']':
        push({PickleKind::kList, 0, 0, {}, {}});
        return true;
      case ')':
        push({PickleKind::kTuple, 0, 0, {}, {}});
        return true;
      case 0x8f:
        push({PickleKind::kSet, 0, 0, {}, {}});
        return true;
      case 'J':
        push_integer(int32_t(uint32_t(take_number(4))));
        return true;
      case 'K':
        push_integer(int64_t(take_number(1)));
        return true;
      case 'M':
        push_integer(int64_t(take_number(2)));
        return true;
      case 0x8a:
        push_long();
        return true;
      case 'G':
        push_number();
        return true;
      case 'X':
        push_text(take(size_t(take_number(4))));
        return true;
      case 'U':
        push_text(take(size_t(take_number(1))));
        return true;
      case 'c':
        push_global();
        return true;
      case 'q':
        remember(take_number(1));
        return true;
      case 'r':
        remember(take_number(4));
        return true;
      case 'h':
        recall(take_number(1));
        return true;
      case 'j':
        recall(take_number(4));
        return true;
      default:
        return false;
    }
  }

  // Instructions that make one value of several.
  bool build(unsigned char instruction) {
    switch (instruction) {
      case 0x80:
        if (const uint64_t protocol = take_number(1); protocol != 2)
          fail(
              "{}: its pickle is of protocol {}, and only 2 is known, which torch.save writes unless it is told "
              "otherwise; save the model again, or as safetensors.",
              where_, protocol);
        return true;
      case '.':
        pickle_.root = pop();
        stopped_ = true;
        return true;
      case 't':
        push({PickleKind::kTuple, 0, 0, {}, pop_to_mark()});
        return true;
      case 0x85:
        push_tuple(1);
        return true;
      case 0x86:
        push_tuple(2);
        return true;
      case 0x87:
        push_tuple(3);
        return true;
      case 'a':
        extend(PickleKind::kList, {pop()});
        return true;
      case 'e':
        extend(PickleKind::kList, pop_to_mark());
        return true;
      case 's': {
        const PickleId value = pop(), key = pop();
        extend(PickleKind::kDict, {key, value});
        return true;
      }
      case 'u':
        extend(PickleKind::kDict, pop_to_mark());
        return true;
      case 'R':
      case 0x81:
        call();
        return true;
      case 'b':  // attributes of the object below, such as the _metadata of an OrderedDict: no tensor is in them
        pop();
        stack_.push_back(pop());
        return true;
      case 'Q':
        push({PickleKind::kPersistent, 0, 0, {}, {pop()}});
        return true;
      default:
        return false;
    }
  }

  std::string_view bytes_;
  const std::string& where_;
  size_t at_ = 0;
  bool stopped_ = false;
  Pickle pickle_;
  std::vector<PickleId> stack_;
  std::unordered_map<uint64_t, PickleId> memo_;
};

}  // namespace

Pickle parse_pickle(std::string_view bytes, const std::string& where) { return Machine(bytes, where).run(); }

}  // namespace updraft::checkpoint
