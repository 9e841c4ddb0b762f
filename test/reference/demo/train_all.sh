#!/bin/sh
# Trains the demo models from nothing and writes models/demo; start it again after an interruption and it goes on.
# PYTHON names the interpreter (see ../requirements.txt). About two hours on two otherwise idle cores.
set -e
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}
WORK=../../../.training
mkdir -p "$WORK"
step() {
  name=$1
  shift
  [ -e "$WORK/$name.finished" ] && return
  echo "== $name (log: .training/$name.log)"
  "$PYTHON" "$@" >>"$WORK/$name.log" 2>&1
  touch "$WORK/$name.finished"
}
step vocabulary vocabulary.py
step autoencoder train_autoencoder.py --minutes 15
step text train_text.py --minutes 2
step denoiser train_denoiser.py --minutes 34
step generated generate.py --prompts train --count 640 --each 8 --steps 8 --out generated-train
step reward train_reward.py --minutes 26 --generated generated-train --share 0.4
step clip train_clip.py --minutes 5
step test generate.py --prompts held-out --count 200 --each 16 --out generated-test
step export export.py
step evaluate evaluate.py
