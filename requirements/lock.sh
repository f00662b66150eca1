#!/bin/sh
# Pin every layer, each one consistent with the layer before: sh requirements/lock.sh PIP_COMPILE
set -eu
compile() {
    "$PIP_COMPILE" --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links "$@" pyproject.toml
}
PIP_COMPILE=$1
compile --generate-hashes --output-file requirements/serve.txt
compile --generate-hashes --extra test --constraint requirements/serve.txt --output-file requirements/test.txt
compile --extra test --extra train --constraint requirements/test.txt --output-file requirements/train.txt
sed -i 's/+cpu//' requirements/train.txt # the CPU wheel's local version is not on every index
compile --extra dev --constraint requirements/train.txt --output-file requirements/dev.txt
