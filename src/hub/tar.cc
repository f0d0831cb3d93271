// The tar format (POSIX ustar and pax), as far as bundles need it.
#include <cstring>

#include "hub/bundle.h"

namespace updraft::hub {
namespace {

constexpr size_t kBlock = 512;
constexpr int64_t kLargestOctal = 077777777777;  // 11 digits: 8 GiB

unsigned checksum(std::string_view block) {
  unsigned sum = 0;
  for (size_t i = 0; i < kBlock; ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(block[i]);
  return sum;
}

std::optional<int64_t> parse_octal(std::string_view field) {
  int64_t value = 0;
  size_t i = 0;
  while (i < field.size() && field[i] == ' ') ++i;
  bool digits = false;
  for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i, digits = true) {
    if (value > (int64_t(1) << 56)) return std::nullopt;
    value = value * 8 + (field[i] - '0');
  }
  return digits ? std::optional(value) : std::nullopt;
}

std::string pax_record(std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;  // space, =, newline
  size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) length = std::to_string(length).size() + rest;
  return fmt::format("{} {}={}\n", length, key, value);
}

std::string block_of(const std::string& name, int64_t size, char type) {
  std::string block(kBlock, '\0');
  name.copy(block.data(), 100);
  const std::string mode = "0000644", zero = "0000000", length = fmt::format("{:011o}", size);
  mode.copy(block.data() + 100, 8);
  zero.copy(block.data() + 108, 8);
  zero.copy(block.data() + 116, 8);
  length.copy(block.data() + 124, 12);
  std::string("00000000000").copy(block.data() + 136, 12);
  block[156] = type;
  std::memcpy(block.data() + 257,
              "ustar\0"
              "00",
              8);
  fmt::format("{:06o}", checksum(block)).copy(block.data() + 148, 6);
  block[154] = '\0';
  block[155] = ' ';
  return block;
}

}  // namespace

std::optional<TarHeader> parse_tar_header(std::string_view block) {
  if (block.size() != kBlock || block.substr(257, 5) != "ustar") return std::nullopt;
  const auto sum = parse_octal(block.substr(148, 8)), size = parse_octal(block.substr(124, 12));
  if (!sum || *sum != checksum(block) || !size) return std::nullopt;
  const auto text = [&](size_t at, size_t length) {
    const std::string_view field = block.substr(at, length);
    return std::string(field.substr(0, field.find('\0')));
  };
  TarHeader header{text(0, 100), *size, block[156]};
  if (const std::string prefix = text(345, 155); !prefix.empty()) header.name = prefix + "/" + header.name;
  return header;
}

std::string make_tar_header(const TarHeader& header) {
  std::string records;
  if (header.name.size() > 100) records += pax_record("path", header.name);
  if (header.size > kLargestOctal) records += pax_record("size", std::to_string(header.size));
  std::string out;
  if (!records.empty()) {
    out = block_of("pax", int64_t(records.size()), 'x') + records;
    out.resize((out.size() + kBlock - 1) / kBlock * kBlock, '\0');
  }
  return out + block_of(header.name.substr(0, 100), header.size > kLargestOctal ? 0 : header.size, header.type);
}

std::string pax_value(std::string_view records, std::string_view key) {
  while (!records.empty()) {
    const size_t space = records.find(' ');
    const auto length = space == std::string_view::npos ? std::nullopt : parse_integer(records.substr(0, space));
    if (!length || *length > int64_t(records.size()) || *length <= int64_t(space) + 1) return "";
    std::string_view record = records.substr(space + 1, size_t(*length) - space - 1);
    records.remove_prefix(size_t(*length));
    const size_t equals = record.find('=');
    if (!record.ends_with('\n') || equals == std::string_view::npos || record.substr(0, equals) != key) continue;
    return std::string(record.substr(equals + 1, record.size() - equals - 2));
  }
  return "";
}

}  // namespace updraft::hub
