"""Exports the tiny models of other architectures to ONNX with optimum itself, for a look at what its files take.

Run: python test/reference/optimum_export.py FOLDER   (needs optimum-onnx 0.1.0 and onnxscript 0.7.2 beside test/reference/requirements.txt)
Writes FOLDER/sd2 and FOLDER/sdxl. `LAUREL_OPTIMUM=FOLDER npx vitest run test/diffusion/onnx.test.ts` then draws with them.
"""

import json
import sys
import tempfile
from pathlib import Path

from optimum.exporters.onnx import main_export

from architectures import SCHEDULERS, assemble

for model in ("sd2", "sdxl"):
    out = Path(sys.argv[1]) / model
    with tempfile.TemporaryDirectory() as folder:
        assemble(model, {}, Path(folder))
        main_export(folder, output=str(out), task="text-to-image", opset=17, do_validation=False)
    # optimum writes the scheduler anew, with all of its class's defaults
    (out / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULERS[model], indent=2) + "\n")
