#!/usr/bin/env bash
# Runs the tests of storages against a real S3 server, versitygw on a folder of this machine: https://github.com/versity/versitygw (Go 1.25 or newer).
#   go install github.com/versity/versitygw/cmd/versitygw@latest
#   test/reference/versitygw.sh [PATH/versitygw]
set -euo pipefail
cd "$(dirname "$0")/../.."
server=${1:-$(go env GOPATH)/bin/versitygw}
work=$(mktemp -d)
port=$((20000 + RANDOM % 20000))
export AWS_ACCESS_KEY_ID=laurel-test AWS_SECRET_ACCESS_KEY=$RANDOM$RANDOM$RANDOM
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/nonexistent AWS_SHARED_CREDENTIALS_FILE=/nonexistent
mkdir -p "$work/data/laurel-bucket"
"$server" --version
ROOT_ACCESS_KEY=$AWS_ACCESS_KEY_ID ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY "$server" --quiet --port "127.0.0.1:$port" posix "$work/data" > "$work/log" 2>&1 &
pid=$!
trap 'kill $pid 2> /dev/null || true; rm -rf "$work"' EXIT
until (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do
  kill -0 $pid || { cat "$work/log"; exit 1; }
  sleep 0.1
done
LAUREL_TEST_S3="s3://laurel-bucket/runs?endpoint=http://127.0.0.1:$port" npx vitest run test/storage/s3.test.ts -t LAUREL_TEST_S3
