#include <cstdio>

int main() {
  std::fputs("updraft: under construction\n", stderr);
  return 2;
}
