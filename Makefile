# GNU make. Targets: all, check, demo, interop, peer, cross, bench, bench-layout, dependencies, install, uninstall, clean,
# format, lint.
# V=1 shows the commands.

VERSION := 0.1.0
SOVERSION := 0

prefix ?= /usr/local
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
libdir ?= $(exec_prefix)/lib
includedir ?= $(prefix)/include
datarootdir ?= $(prefix)/share
mandir ?= $(datarootdir)/man
pkgconfigdir ?= $(libdir)/pkgconfig

CC ?= cc
AR ?= ar
INSTALL ?= install
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O3 -g
BUILD ?= build

ifeq ($(V),1)
  Q :=
  say = @:
else
  Q := @
  say = @printf '  %-7s %s\n'
endif

LIBRARIES := zlib libarchive libxxhash jansson libpcre2-8 libutf8proc nettle
# The library knows no foreign file, so it needs no JSON and no archives.
CORE_LIBRARIES := zlib libxxhash libpcre2-8 libutf8proc nettle

system := $(shell uname -s)
ifeq ($(system),Darwin)
  # Homebrew keeps libarchive away from the system's own.
  export PKG_CONFIG_PATH := $(shell brew --prefix 2>/dev/null)/opt/libarchive/lib/pkgconfig:$(PKG_CONFIG_PATH)
  soname := libtq.$(SOVERSION).dylib
  shared_name := libtq.$(VERSION).dylib
  shared_link := libtq.dylib
  shared_flags = -dynamiclib -install_name $(libdir)/$(soname)
else
  soname := libtq.so.$(SOVERSION)
  shared_name := libtq.so.$(VERSION)
  shared_link := libtq.so
  shared_flags = -shared -Wl,-soname,$(soname)
endif

# Goals that work, or install what is missing themselves, on a machine without the libraries.
ifneq ($(filter-out check demo cross dependencies clean uninstall format lint,$(or $(MAKECMDGOALS),all)),)
  ifneq ($(shell $(PKG_CONFIG) --exists $(LIBRARIES) 2>/dev/null && echo found),found)
    $(warning libraries are missing: 'make dependencies' installs them)
  endif
endif

library_cflags := $(shell $(PKG_CONFIG) --cflags $(LIBRARIES) 2>/dev/null)
library_libs := $(shell $(PKG_CONFIG) --libs $(LIBRARIES) 2>/dev/null)
core_libs := $(shell $(PKG_CONFIG) --libs $(CORE_LIBRARIES) 2>/dev/null)
check_cflags := $(shell $(PKG_CONFIG) --cflags check 2>/dev/null)
check_libs := $(shell $(PKG_CONFIG) --libs check 2>/dev/null)

WARNINGS := -Wall -Wextra -Wshadow -Wconversion
ALL_CPPFLAGS := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DTQ_VERSION='"$(VERSION)"' -Ilib/include -Ilib -I. \
                $(library_cflags) $(CPPFLAGS)
# The shared library shows what the public headers declare, and calls its own functions directly.
# Float results must not depend on whether a compiler fuses a product with a sum.
ALL_CFLAGS := -std=c11 -fPIC -fvisibility=hidden -fno-semantic-interposition -pthread $(WARNINGS) $(CFLAGS) -ffp-contract=off
ALL_LDFLAGS := -pthread $(LDFLAGS)

lib_sources := $(wildcard lib/*/*.c)
format_sources := $(wildcard formats/*.c formats/*/*.c)
tool_mains := $(wildcard tools/tq-*.c)
tool_sources := $(filter-out $(tool_mains),$(wildcard tools/*.c))
sample_mains := $(wildcard samples/*.c)
test_mains := $(wildcard tests/test_*.c tests/cli/test_*.c)
test_sources := $(filter-out $(test_mains),$(wildcard tests/*.c tests/cli/*.c))

object = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
tools := $(patsubst tools/%.c,$(BUILD)/bin/%,$(tool_mains))
samples := $(patsubst samples/%.c,$(BUILD)/samples/%,$(sample_mains))
tests := $(patsubst tests/%.c,$(BUILD)/tests/%,$(test_mains))
man_pages := $(wildcard docs/man/*.1)
static_library := $(BUILD)/lib/libtq.a
shared_library := $(BUILD)/lib/$(shared_link)
# What the tools and tests share; not installed.
formats_library := $(BUILD)/obj/libtqformats.a
tools_library := $(BUILD)/obj/libtqtools.a
support_library := $(BUILD)/obj/libtqtests.a

.PHONY: all check run-tests demo run-demo interop peer cross bench bench-layout dependencies install uninstall clean format lint
.DELETE_ON_ERROR:
.SECONDARY:

all: $(static_library) $(shared_library) $(tools) $(BUILD)/lib/libtq.pc

# Kernels of an instruction set are compiled for it; which of them runs is decided when the program starts.
machine := $(shell $(CC) -dumpmachine 2>/dev/null)
ifneq ($(filter x86_64-% amd64-%,$(machine)),)
  instructions_avx2 := -mavx2 -mf16c
  instructions_avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi -mf16c
else ifneq ($(filter aarch64-% arm64-%,$(machine)),)
  instructions_neon := -march=armv8.2-a+dotprod
  instructions_neon_i8mm := -march=armv8.2-a+dotprod+i8mm
endif
kernel_flags = $(if $(filter lib/kernels/%.c tests/bench/layout_%.c,$<),$(instructions_$(patsubst \
  layout_%,%,$(basename $(notdir $<)))))

$(BUILD)/obj/%.o: %.c Makefile
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(kernel_flags) $(if $(filter tests/%,$<),$(check_cflags)) -MMD -MP -c $< -o $@

$(static_library): $(call object,$(lib_sources))
$(formats_library): $(call object,$(format_sources))
$(tools_library): $(call object,$(tool_sources))
$(support_library): $(call object,$(test_sources))
$(static_library) $(formats_library) $(tools_library) $(support_library):
	$(say) AR $@
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(shared_library): $(call object,$(lib_sources))
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(shared_flags) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $(@D)/$(shared_name) $^ $(core_libs) -lm
	$(Q)ln -sf $(shared_name) $(@D)/$(soname) && ln -sf $(soname) $@

fill_in_pc = sed -e 's|@prefix@|$(prefix)|; s|@exec_prefix@|$(exec_prefix)|; s|@libdir@|$(libdir)|' \
  -e 's|@includedir@|$(includedir)|; s|@version@|$(VERSION)|; s|@requires@|$(CORE_LIBRARIES)|' lib/libtq.pc.in

$(BUILD)/lib/libtq.pc: lib/libtq.pc.in Makefile
	@mkdir -p $(@D)
	$(Q)$(fill_in_pc) >$@

# A program from its object, the archives it is given, the formats and the library.
define link
$(say) LD $@
@mkdir -p $(@D)
$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(1) $(library_libs) -lm
endef

$(tools): $(BUILD)/bin/%: $(BUILD)/obj/tools/%.o $(tools_library) $(formats_library) $(static_library)
	$(call link)

$(samples): $(BUILD)/samples/%: $(BUILD)/obj/samples/%.o $(formats_library) $(static_library)
	$(call link)

$(tests): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(support_library) $(formats_library) $(static_library)
	$(call link,$(check_libs))

$(BUILD)/tests/interop/%: $(BUILD)/obj/tests/interop/%.o $(static_library)
	$(call link)

$(BUILD)/tests/bench/layout: $(call object,$(wildcard tests/bench/layout*.c))
	$(call link)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# ---- what a user asks for ----
# What pkg-config says was read before the libraries were installed: make starts over to read it again.

dependencies:
	@tools/dependencies.sh

check: dependencies
	+@$(MAKE) --no-print-directory run-tests

demo: dependencies
	+@$(MAKE) --no-print-directory run-demo

run-tests: $(tests) $(tools) $(samples)
	$(Q)TQ_BUILD=$(BUILD) tests/run.sh $(tests)

run-demo: $(tools) $(samples)
	$(Q)samples/demo.sh $(BUILD)

# Other projects' own programs on files written here; needs Python 3, and node and npm, which install them.
interop: $(tools) $(BUILD)/tests/interop/logits
	$(Q)tests/interop/run.sh $(BUILD)

# The dialects against decoders and encoders that were written apart from these; needs Python 3.
peer: $(tools)
	$(Q)tests/peer/run.sh $(BUILD)

# The kernels of AArch64, built with a cross compiler and run under qemu, which are to be installed (see .ci/run).
cross:
	+$(Q)tests/cross.sh $(BUILD)-cross

# The speed of everything, written to docs/benchmarks.md; needs Python 3, 6 GB for temporary files and ten minutes.
bench: $(tools)
	$(Q)BUILD=$(BUILD) tests/bench/benchmarks.sh

# The packed layouts that were candidates, measured; written to docs/kernels.md.
bench-layout: $(BUILD)/tests/bench/layout
	$(Q)BUILD=$(BUILD) tests/bench/layout.sh

# ---- installing ----

install: all
	$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir) $(DESTDIR)$(pkgconfigdir) $(DESTDIR)$(includedir)/tq \
	  $(DESTDIR)$(mandir)/man1
	$(INSTALL) -m 644 lib/include/tq/*.h $(DESTDIR)$(includedir)/tq
	$(INSTALL) -m 644 $(static_library) $(DESTDIR)$(libdir)
	$(INSTALL) -m 755 $(BUILD)/lib/$(shared_name) $(DESTDIR)$(libdir)
	ln -sf $(shared_name) $(DESTDIR)$(libdir)/$(soname)
	ln -sf $(soname) $(DESTDIR)$(libdir)/$(shared_link)
	$(INSTALL) -m 755 $(tools) $(DESTDIR)$(bindir)
	$(INSTALL) -m 644 $(man_pages) $(DESTDIR)$(mandir)/man1
	$(fill_in_pc) >$(DESTDIR)$(pkgconfigdir)/libtq.pc

uninstall:
	rm -f $(addprefix $(DESTDIR)$(bindir)/,$(notdir $(tools)))
	rm -f $(addprefix $(DESTDIR)$(mandir)/man1/,$(notdir $(man_pages)))
	rm -f $(addprefix $(DESTDIR)$(libdir)/,libtq.a $(shared_name) $(soname) $(shared_link))
	rm -f $(DESTDIR)$(pkgconfigdir)/libtq.pc
	rm -f $(addprefix $(DESTDIR)$(includedir)/tq/,$(notdir $(wildcard lib/include/tq/*.h)))
	-rmdir $(DESTDIR)$(includedir)/tq

clean:
	rm -rf $(BUILD)

# ---- for those who change it ----

find_c = find lib formats tools tests samples -name '*.[ch]'
shell_files = $(shell find tools tests samples -name '*.sh') .ci/run

format:
	$(find_c) | xargs clang-format -i

# Check's assertions end a test, which cppcheck must be told.
cppcheck_flags := --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr -j2 \
  -D__GNUC__=12 -D__x86_64__ -DTQ_VERSION='"$(VERSION)"' -Ilib/include -Ilib -I. \
  -D'ck_assert(e)=((e)?(void)0:abort())' -D'ck_assert_msg(e,...)=((e)?(void)0:abort())' \
  -D'ck_assert_ptr_nonnull(e)=((e)?(void)0:abort())'

lint:
	$(find_c) | xargs clang-format --dry-run -Werror
	cppcheck $(cppcheck_flags) lib formats tools samples tests
	shellcheck $(shell_files)
	mandoc -Tlint -Wwarning $(man_pages)
