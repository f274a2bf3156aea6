# Installation and packages. Directories are overridden in the GNU way: PREFIX or prefix, LIBDIR or libdir, and so on.
# DESTDIR stands before them while files are copied, and is written nowhere.

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

PREFIX       ?= $(or $(prefix),/usr/local)
BINDIR       ?= $(or $(bindir),$(PREFIX)/bin)
LIBDIR       ?= $(or $(libdir),$(PREFIX)/lib)
INCLUDEDIR   ?= $(or $(includedir),$(PREFIX)/include)
DATADIR      ?= $(or $(datadir),$(PREFIX)/share)
MANDIR       ?= $(or $(mandir),$(DATADIR)/man)
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
CMAKEDIR     ?= $(LIBDIR)/cmake/replication
BASHDIR      ?= $(DATADIR)/bash-completion/completions
ZSHDIR       ?= $(DATADIR)/zsh/site-functions
FISHDIR      ?= $(DATADIR)/fish/vendor_completions.d

INSTALL         ?= install
INSTALL_PROGRAM ?= $(INSTALL)
INSTALL_DATA    ?= $(INSTALL) -m 644
STRIP           ?= strip

# What Rust's standard library needs of the system's, for who links the static library.
SYSTEM_LIBS := -lm -lpthread -ldl

SO_FILE    := libreplication.so.$(VERSION)
STATIC_LIB := target/release/libreplication.a
CPP_HEADERS := $(wildcard bindings/cpp/*.hpp)

INSTALLED := $(BINDIR)/replctl $(MANDIR)/man1/replctl.1 $(MANDIR)/man3/libreplication.3 \
             $(BASHDIR)/replctl $(ZSHDIR)/_replctl $(FISHDIR)/replctl.fish \
             $(LIBDIR)/$(SO_FILE) $(LIBDIR)/$(SONAME) $(LIBDIR)/libreplication.so $(LIBDIR)/libreplication.a \
             $(addprefix $(INCLUDEDIR)/,$(notdir $(HEADERS) $(CPP_HEADERS))) \
             $(PKGCONFIGDIR)/replication.pc \
             $(CMAKEDIR)/replicationConfig.cmake $(CMAKEDIR)/replicationConfigVersion.cmake

# What is built is taken as it is, so that `sudo make install` compiles nothing as root; what is missing is built.
.PHONY: install
install: ## install the library, its headers and replctl below PREFIX (/usr/local), with DESTDIR before it
	@[ -e $(STATIC_LIB) ] && ls $(SHIPPED) >/dev/null 2>&1 || MAKELEVEL=0 $(MAKE) build
	$(INSTALL) -d $(addprefix '$(DESTDIR)',$(sort $(dir $(INSTALLED))))
	$(INSTALL_PROGRAM) build/bin/replctl '$(DESTDIR)$(BINDIR)/replctl'
	$(INSTALL_DATA) docs/replctl.1 '$(DESTDIR)$(MANDIR)/man1/replctl.1'
	$(INSTALL_DATA) packaging/completions/replctl '$(DESTDIR)$(BASHDIR)/replctl'
	$(INSTALL_DATA) packaging/completions/_replctl '$(DESTDIR)$(ZSHDIR)/_replctl'
	$(INSTALL_DATA) packaging/completions/replctl.fish '$(DESTDIR)$(FISHDIR)/replctl.fish'
	$(INSTALL_DATA) docs/libreplication.3 '$(DESTDIR)$(MANDIR)/man3/libreplication.3'
	$(INSTALL_DATA) build/lib/$(SONAME) '$(DESTDIR)$(LIBDIR)/$(SO_FILE)'
	ln -sf $(SO_FILE) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libreplication.so'
	$(INSTALL_DATA) $(STATIC_LIB) '$(DESTDIR)$(LIBDIR)/libreplication.a'
	$(INSTALL_DATA) $(HEADERS) $(CPP_HEADERS) '$(DESTDIR)$(INCLUDEDIR)/'
	VERSION='$(VERSION)' SONAME='$(SONAME)' FILE='$(SO_FILE)' SYSTEM_LIBS='$(SYSTEM_LIBS)' PREFIX='$(PREFIX)' \
	LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' PKGCONFIGDIR='$(PKGCONFIGDIR)' CMAKEDIR='$(CMAKEDIR)' \
	    packaging/configure '$(DESTDIR)'

# The static library carries its code a second time, for rustc, which C's linkers do not look at.
.PHONY: install-strip
install-strip: install ## the same without what only debuggers and rustc read
	$(STRIP) --strip-unneeded --remove-section=.comment '$(DESTDIR)$(LIBDIR)/$(SO_FILE)' '$(DESTDIR)$(BINDIR)/replctl'
	$(STRIP) --strip-debug --enable-deterministic-archives --remove-section=.comment --remove-section=.llvmbc \
	    --remove-section=.llvmcmd '$(DESTDIR)$(LIBDIR)/libreplication.a'

.PHONY: uninstall
uninstall: ## remove what `make install` with the same directories put there
	rm -f $(foreach file,$(INSTALLED),'$(DESTDIR)$(file)')
	[ ! -d '$(DESTDIR)$(CMAKEDIR)' ] || rmdir --ignore-fail-on-non-empty '$(DESTDIR)$(CMAKEDIR)'

.PHONY: test-packages
test-packages: $(SHIPPED) ## install, and build programs with what pkg-config and CMake tell
	CC='$(CC)' CXX='$(CXX)' tests/packages/run
	tests/documents.py docs/packaging.md
	$(XTASK) library build/lib/libreplication.so

test-long-runs: test-packages

# ---- the ABI ------------------------------------------------------------------------------------------------------------

.PHONY: abi-dump
abi-dump: $(LIB) ## describe the ABI of this version in packaging/abi, for a release
	CC='$(CC)' packaging/abi/dump $(HEADER) $(SONAME) >$(B)/$(VERSION).abi
	mv $(B)/$(VERSION).abi packaging/abi/libreplication-$(VERSION).abi

.PHONY: test-abi
test-abi: $(LIB) ## the ABI is the released one, or the changelog says what became of it
	CC='$(CC)' packaging/abi/check '' '' $(LIB)

.PHONY: test-abi-check
test-abi-check: ## the comparison of the ABI notices every kind of change
	CC='$(CC)' tests/packages/abi

test-long-runs: test-abi-check

test-runs: test-abi

# ---- what is shipped ----------------------------------------------------------------------------------------------------

.PHONY: harden-check
harden-check: $(SHIPPED) ## the library and replctl have every protection that the toolchain can give
	packaging/harden-check build/lib/libreplication.so build/bin/replctl

.PHONY: test-reproducible
test-reproducible: ## the same commit gives the same bytes in two directories
	packaging/reproducible

test-long-runs: harden-check test-reproducible

# ---- Debian packages ----------------------------------------------------------------------------------------------------

.PHONY: deb
deb: $(SHIPPED) ## build the Debian packages, in build/deb
	packaging/deb

.PHONY: test-deb
test-deb: deb ## lintian finds nothing in the packages, and they can be installed and used
	CC='$(CC)' tests/packages/deb

# Elsewhere there is no Debian to install them in.
test-long-runs: $(if $(shell command -v dpkg-deb),test-deb)

# ---- releases -----------------------------------------------------------------------------------------------------------

.PHONY: tarball
tarball: $(SHIPPED) ## pack library, headers and replctl, to be unpacked anywhere, in build/tarball
	rm -rf build/tarball
	packaging/tarball build/tarball

.PHONY: abi-report
abi-report: $(SHIPPED) ## describe the ABI and what became of it since the last release, in build/abi
	rm -rf build/abi
	CC='$(CC)' packaging/abi/report build/abi

# cargo-cyclonedx writes beside Cargo.toml.
.PHONY: sbom
sbom: ## list the crates that the library and replctl are made of, in CycloneDX's form, in build/sbom
	rm -rf build/sbom
	mkdir -p build/sbom
	PATH="$$(scripts/cargo --bin-dir):$$PATH" cargo-cyclonedx cyclonedx --quiet --format json --spec-version 1.5 \
	    --features cli --no-build-deps --override-filename libreplication-$(VERSION).cdx
	sed 's|file://$(CURDIR)|file:///libreplication|g' libreplication-$(VERSION).cdx.json >build/sbom/libreplication-$(VERSION).cdx.json
	rm libreplication-$(VERSION).cdx.json

.PHONY: dist
dist: deb python-wheels tarball abi-report sbom ## make everything that a release has, with checksums, in build/dist
	rm -rf build/dist
	mkdir -p build/dist
	cp build/deb/*.deb build/wheels/*.whl build/tarball/*.tar.gz build/abi/* build/sbom/* build/dist/
	cd build/dist && sha256sum -- * >../SHA256SUMS && mv ../SHA256SUMS .

.PHONY: release-check
release-check: ## this commit is a release: its files agree on the version and it has both tags (TAG is the one pushed)
	packaging/release-check $(TAG)

.PHONY: release-notes
release-notes: ## print what the changelog says of this version
	@awk '/^## / && seen {exit} seen {print} /^## / {seen = index($$0, "[$(VERSION)]")}' CHANGELOG.md

.PHONY: test-release
test-release: tarball abi-report ## the tarball can be used, and what is no release is refused
	CC='$(CC)' tests/packages/tarball
	tests/packages/release

test-long-runs: test-release
