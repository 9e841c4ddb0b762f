/** @file What `laurel doctor` takes. */

import { declare, file, type FlagsOf, folder } from "../declare.js";
import { BACKEND_OPTION, DEVICE_OPTION, OUTPUT_OPTIONS, OUT_OPTION } from "../options.js";

export const DOCTOR = declare({
  heading: "Installation",
  summary: "check this installation and test it",
  arguments: [],
  options: {
    backend: {
      ...BACKEND_OPTION.backend,
      help: "a backend to check, too, where that costs nothing: its name, or its YAML file",
    },
    model: folder("generator whose memory is judged (default: the demo model)"),
    rewardModel: file("reward whose memory is judged (default: the demo model)", "path", "a file or folder"),
    ...DEVICE_OPTION,
    ...OUT_OPTION,
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel doctor",
    "laurel doctor --out /data/runs",
    "laurel doctor --backend webui",
    "laurel doctor --device auto --model ~/models/stable-diffusion-v1-5",
    "laurel doctor --json > report.json",
  ],
  notes: `Checked are versions, processor, memory, ONNX Runtime, the devices that answer, what models need, caches, disk and the demo models. The self-test scores a drawn picture and generates one with the models that ship inside, and compares both with what they gave when they were
recorded. The exit code is 0 unless a check fails: 5 when a model is damaged, 3 when ONNX Runtime or the backend does not work, else 1.`,
});

/** Options of `laurel doctor`. */
export type DoctorFlags = FlagsOf<typeof DOCTOR.options>;
