/** @file The table of hostile and broken files. */

import { CONFIGS } from "./config-cases.js";
import { FOREIGN } from "./foreign-cases.js";
import { IMAGES } from "./image-cases.js";
import { LAYOUTS } from "./layout-cases.js";
import { PICKLES } from "./pickle-cases.js";
import { RUNS } from "./run-cases.js";
import { testTable } from "./runner.js";
import { SAFETENSORS } from "./safetensors-cases.js";
import { TORCH } from "./torch-cases.js";

[PICKLES, TORCH, SAFETENSORS, CONFIGS, IMAGES, RUNS, FOREIGN, LAYOUTS].forEach(testTable);
