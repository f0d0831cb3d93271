#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/normalizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

struct Stretch {
  size_t begin, end;
  bool matched;
};
using Stretches = std::vector<Stretch>;  // in order, covering the text

// Joins stretches to pieces as the behaviour says and gives them out.
void deliver(std::string_view text, bool first, Stretches stretches, SplitBehavior behavior, PieceSink sink) {
  Stretches pieces;
  bool previous = false;
  const auto joins = [&](const Stretch& s) {  // with the piece made before it
    switch (behavior) {
      case SplitBehavior::kContiguous:
        return !pieces.empty() && s.matched == previous;
      case SplitBehavior::kMergedWithPrevious:
      case SplitBehavior::kMergedWithNext:
        return !pieces.empty() && s.matched && !previous;
      default:
        return false;
    }
  };
  const auto add = [&](const Stretch& s) {
    if (joins(s)) {
      pieces.back().begin = std::min(pieces.back().begin, s.begin);
      pieces.back().end = std::max(pieces.back().end, s.end);
    } else if (behavior != SplitBehavior::kRemoved || !s.matched) {
      pieces.push_back(s);
    }
    previous = s.matched;
  };
  if (behavior == SplitBehavior::kMergedWithNext) {  // from the end, so that the next piece is already there
    for (size_t i = stretches.size(); i-- > 0;) add(stretches[i]);
    for (size_t i = pieces.size(); i-- > 0;) {
      const Stretch& p = pieces[i];
      if (p.begin < p.end) sink(text.substr(p.begin, p.end - p.begin), first && p.begin == 0);
    }
    return;
  }
  for (const Stretch& s : stretches) add(s);
  for (const Stretch& p : pieces) {
    if (p.begin < p.end) sink(text.substr(p.begin, p.end - p.begin), first && p.begin == 0);
  }
}

class ScannerSplit : public PreTokenizer {
 public:
  explicit ScannerSplit(Scanner scanner) : scanner_(scanner) {}
  void split(std::string_view text, bool first, PieceSink sink) const override {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = scanner_(text, begin);
      sink(text.substr(begin, end - begin), first && begin == 0);
      begin = end;
    }
  }

 private:
  Scanner scanner_;
};

class RegexSplit : public PreTokenizer {
 public:
  RegexSplit(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}
  void split(std::string_view text, bool first, PieceSink sink) const override {
    Stretches stretches;
    size_t done = 0;
    for (size_t search = 0; search <= text.size();) {
      const auto match = regex_.find(text, search);
      if (!match) break;
      const auto [begin, end] = *match;
      if (begin > done) stretches.push_back({done, begin, invert_});
      stretches.push_back({begin, end, !invert_});
      done = end;
      search = end > begin ? end : end + (end < text.size() ? utf8_length(text[end]) : 1);
    }
    if (done < text.size()) stretches.push_back({done, text.size(), invert_});
    deliver(text, first, std::move(stretches), behavior_, sink);
  }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

class StringSplit : public PreTokenizer {
 public:
  StringSplit(std::string delimiter, SplitBehavior behavior, bool invert)
      : delimiter_(std::move(delimiter)), behavior_(behavior), invert_(invert) {}
  void split(std::string_view text, bool first, PieceSink sink) const override {
    Stretches stretches;
    size_t done = 0;
    while (!delimiter_.empty()) {
      const size_t begin = text.find(delimiter_, done);
      if (begin == std::string_view::npos) break;
      if (begin > done) stretches.push_back({done, begin, invert_});
      done = begin + delimiter_.size();
      stretches.push_back({begin, done, !invert_});
    }
    if (done < text.size()) stretches.push_back({done, text.size(), invert_});
    deliver(text, first, std::move(stretches), behavior_, sink);
  }

 private:
  std::string delimiter_;
  SplitBehavior behavior_;
  bool invert_;
};

// Every character that `Matches` is a stretch of its own; what lies between is one.
template <class Matches>
class CharacterSplit : public PreTokenizer {
 public:
  CharacterSplit(Matches matches, SplitBehavior behavior) : matches_(matches), behavior_(behavior) {}
  void split(std::string_view text, bool first, PieceSink sink) const override {
    const UnicodeClasses& classes = UnicodeClasses::instance();
    Stretches stretches;
    size_t done = 0;
    for (size_t i = 0; i < text.size();) {
      const size_t begin = i;
      if (!matches_(classes.of(next_code_point(text, i)))) continue;
      if (begin > done) stretches.push_back({done, begin, false});
      stretches.push_back({begin, i, true});
      done = i;
    }
    if (done < text.size()) stretches.push_back({done, text.size(), false});
    deliver(text, first, std::move(stretches), behavior_, sink);
  }

 private:
  Matches matches_;
  SplitBehavior behavior_;
};

struct HasBits {
  uint8_t bits;
  bool operator()(uint8_t value) const { return (value & bits) != 0; }
};
struct IsSpace {
  bool operator()(uint8_t value) const { return (value & kCategoryMask) == kSpace; }
};

class WordSplit : public PreTokenizer {
 public:
  void split(std::string_view text, bool first, PieceSink sink) const override {
    enum Kind { kNothing, kWord, kSymbols };
    const UnicodeClasses& classes = UnicodeClasses::instance();
    Kind kind = kNothing;
    size_t begin = 0;
    for (size_t i = 0; i <= text.size();) {
      const size_t here = i;
      uint8_t bits = kSpace;  // the end closes the last piece as white space does
      if (here < text.size()) {
        bits = classes.of(next_code_point(text, i));
      } else {
        ++i;
      }
      const Kind now = bits & kWordBit ? kWord : (bits & kCategoryMask) == kSpace ? kNothing : kSymbols;
      if (now == kind) continue;
      if (kind != kNothing) sink(text.substr(begin, here - begin), first && begin == 0);
      kind = now;
      begin = here;
    }
  }
};

class Metaspace : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)),
        scheme_(scheme),
        split_(split ? make_string_split(replacement_, SplitBehavior::kMergedWithNext, false) : nullptr) {}
  void split(std::string_view text, bool first, PieceSink sink) const override {
    std::string replaced(text);
    replace_all(replaced, " ", replacement_);
    const bool wanted = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && first);
    if (wanted && !replaced.starts_with(replacement_)) replaced.insert(0, replacement_);
    if (split_) {
      split_->split(replaced, first, sink);
    } else if (!replaced.empty()) {
      sink(replaced, first);
    }
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  std::unique_ptr<const PreTokenizer> split_;
};

class BoundarySplit : public PreTokenizer {
 public:
  explicit BoundarySplit(std::string mark) : mark_(std::move(mark)) {}
  void split(std::string_view text, bool first, PieceSink sink) const override {
    size_t begin = 0, behind_mark = std::string_view::npos;  // where the last mark ended
    for (size_t i = text.find(mark_); i != std::string_view::npos; i = text.find(mark_, behind_mark)) {
      if (i > begin && i != behind_mark) {
        sink(text.substr(begin, i - begin), first && begin == 0);
        begin = i;
      }
      behind_mark = i + mark_.size();
    }
    if (begin < text.size()) sink(text.substr(begin), first && begin == 0);
  }

 private:
  std::string mark_;
};

class PrefixSpace : public PreTokenizer {
 public:
  void split(std::string_view text, bool first, PieceSink sink) const override {
    if (text.starts_with(' ')) return sink(text, first);
    std::string with_space = " ";
    with_space += text;
    sink(with_space, first);
  }
};

void split_from(const PreTokenizers& steps, size_t step, std::string_view text, bool first, PieceSink sink) {
  if (step == steps.size()) return sink(text, first);
  if (step + 1 == steps.size()) return steps[step]->split(text, first, sink);
  steps[step]->split(text, first, [&](std::string_view piece, bool piece_first) {
    split_from(steps, step + 1, piece, piece_first, sink);
  });
}

}  // namespace

void split(const PreTokenizers& steps, std::string_view text, bool first, PieceSink sink) {
  split_from(steps, 0, text, first, sink);
}

std::unique_ptr<const PreTokenizer> make_scanner_split(Scanner scanner) {
  return std::make_unique<ScannerSplit>(scanner);
}
std::unique_ptr<const PreTokenizer> make_regex_split(Regex regex, SplitBehavior behavior, bool invert) {
  return std::make_unique<RegexSplit>(std::move(regex), behavior, invert);
}
std::unique_ptr<const PreTokenizer> make_string_split(std::string delimiter, SplitBehavior behavior, bool invert) {
  return std::make_unique<StringSplit>(std::move(delimiter), behavior, invert);
}
std::unique_ptr<const PreTokenizer> make_class_split(uint8_t bits, SplitBehavior behavior) {
  return std::make_unique<CharacterSplit<HasBits>>(HasBits{bits}, behavior);
}
std::unique_ptr<const PreTokenizer> make_space_split() {
  return std::make_unique<CharacterSplit<IsSpace>>(IsSpace{}, SplitBehavior::kRemoved);
}
std::unique_ptr<const PreTokenizer> make_word_split() { return std::make_unique<WordSplit>(); }
std::unique_ptr<const PreTokenizer> make_metaspace(std::string replacement, PrependScheme scheme, bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), scheme, split);
}
std::unique_ptr<const PreTokenizer> make_boundary_split(std::string mark) {
  return std::make_unique<BoundarySplit>(std::move(mark));
}
std::unique_ptr<const PreTokenizer> make_prefix_space() { return std::make_unique<PrefixSpace>(); }

}  // namespace updraft::text
