#!/bin/sh
# Pin every layer: sh requirements/lock.sh PIP_COMPILE. Training comes first, since its libraries are the choosiest; the other layers take
# its versions, so that a model is served by what it was checked with.
set -eu
PIP_COMPILE=$1
compile() {
    "$PIP_COMPILE" --quiet --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links "$@" pyproject.toml
}
compile --extra train --extra annotation --extra signing --extra test --output-file requirements/train.txt
sed -i 's/+cpu//' requirements/train.txt # the CPU wheel's local version is not on every index
compile --extra dev --constraint requirements/train.txt --output-file requirements/dev.txt
compile --extra annotation --extra test --generate-hashes --constraint requirements/train.txt --output-file requirements/test.txt
compile --extra annotation --generate-hashes --constraint requirements/test.txt --output-file requirements/annotation.txt
compile --generate-hashes --constraint requirements/test.txt --output-file requirements/serve.txt
compile --extra signing --generate-hashes --constraint requirements/train.txt --output-file requirements/signing.txt # with serve.txt
compile --extra batch --generate-hashes --constraint requirements/serve.txt --output-file requirements/batch.txt # with serve.txt
compile --extra batch --extra ray --generate-hashes --constraint requirements/batch.txt --output-file requirements/ray.txt
# Label Studio itself, which the tests start: in an environment of its own, since it pins what we have newer.
echo "label-studio==1.23.2" | "$PIP_COMPILE" --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
    --output-file requirements/label-studio.txt -
