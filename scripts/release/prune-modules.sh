#!/bin/sh
# Removes from a production node_modules what no run of Pipit reads: sources of native code, type declarations, source
# maps, build tools, papers and other C libraries. The release's own tests answer a question from what is left.
set -eu
cd "$1"

# Build-time only: peers and tools that node-llama-cpp needs to compile llama.cpp, which a release never does.
rm -rf typescript cmake-js node-addon-api node-api-headers @types undici-types .package-lock.json
find . -type d -name .bin -prune -exec rm -rf {} +
# llama.cpp's sources (34 MB) and the addon's; JSON files and grammars beside them are read at run time.
find node-llama-cpp/llama -mindepth 1 ! -name '*.json' ! -name '*.gbnf' -delete 2>/dev/null || true
rm -rf node-llama-cpp/templates
# What koffi would be compiled with, and its builds for musl.
rm -rf koffi/vendor koffi/doc koffi/lib/native
find @koromix -mindepth 2 -maxdepth 2 -name 'musl_*' -exec rm -rf {} +

find . -type f \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' -o -name '*.ts' -o -name '*.mts' -o -name '*.cts' \
  -o -name '*.tsbuildinfo' -o -name '*.h' -o -name '*.cc' -o -name '*.cpp' -o -name '*.gyp' -o -name '*.gypi' -o -name '*.flow' \
  -o -name '*.html' -o -name '.*' -o -iname 'readme*' -o -iname 'changelog*' -o -iname 'history.md' -o -iname 'contributing*' -o -iname 'security*' \
  -o -name 'tsconfig*.json' -o -name '*.yml' -o -name 'Makefile' -o -name 'cnoke.cjs' \) -delete
# Tests and papers at the top of a package; licences stay. Deeper folders of these names can be code (yaml/dist/doc).
for package in ./*/ ./@*/*/ ./*/node_modules/*/; do
  for part in doc docs test tests example examples benchmark benchmarks bench coverage; do rm -rf "$package$part"; done
done
find . -depth -type d -empty -delete
