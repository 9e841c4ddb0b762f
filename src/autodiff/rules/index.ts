/** @file The gradient rule of every op: one total table. A new op without an entry here does not compile. */

import type { RuleTable } from "../rule.js";
import { attentionRules } from "./attention.js";
import { convolutionRules } from "./convolution.js";
import { elementwiseRules } from "./elementwise.js";
import { indexingRules } from "./indexing.js";
import { matrixRules } from "./matrix.js";
import { normalisationRules } from "./normalisation.js";
import { reductionRules } from "./reduction.js";
import { shapeRules } from "./shape.js";

/** A rule, or the statement that there is none, for every op. */
export const RULES: RuleTable = {
  ...elementwiseRules,
  ...matrixRules,
  ...convolutionRules,
  ...reductionRules,
  ...normalisationRules,
  ...shapeRules,
  ...indexingRules,
  ...attentionRules,
};
