#!/usr/bin/env bash
# Rebuild three.bundle.js and three.LICENSE.txt; needs Node.js and npm. See README.md.
set -euo pipefail
viewer=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$viewer/three.entry.js" "$work/"
cd "$work"
npm install --no-save --no-audit --no-fund --silent three@0.187.0 esbuild@0.28.2
npx esbuild three.entry.js --bundle --minify --format=iife --global-name=THREE --target=es2020 \
  --legal-comments=none --log-level=warning --outfile="$viewer/three.bundle.js"
cp node_modules/three/LICENSE "$viewer/three.LICENSE.txt"
