/** @file Strategies of a comparison by their names: each with settings of its own, those of the sampling included. */

import { UsageError } from "../errors.js";
import { halving } from "../strategies/search/halving.js";
import { parseStrategy, printStrategy } from "../strategies/settings.js";
import type { ComparedStrategy, SamplingSettings } from "./compare-strategies.js";
import type { Models } from "./models.js";
import { openStrategy } from "./open-strategy.js";

/** `:steps=5`, `:guidance=3`, `:sampler=ddim` */
const SAMPLING = /:(steps|guidance|sampler)=([^:]*)/g;

/**
 * Reads `NAME`, `NAME:key=value:...`, with `steps`, `guidance` and `sampler` among the keys.
 * @throws UsageError for what is no strategy
 */
export function parseCompared(texts: readonly string[], models: Models): ComparedStrategy[] {
  return texts.map((text) => {
    const settings: Record<string, string | number> = {};
    const plain = text.replace(SAMPLING, (_, key: string, value: string) => {
      settings[key] = key === "sampler" ? value : numberOf(text, key, value);
      return "";
    });
    const strategy = parseStrategy(plain);
    const said = Object.entries(settings).map(([key, value]) => `:${key}=${value}`);
    return {
      name: `${printStrategy(strategy)}${said.join("")}`,
      settings: settings as SamplingSettings,
      open: async (calibration) =>
        strategy.name === "halving"
          ? { strategy: halving({ calibration }), close: () => Promise.resolve() }
          : openStrategy(strategy, models),
    };
  });
}

function numberOf(text: string, key: string, value: string): number {
  const number = value.trim() === "" ? Number.NaN : Number(value);
  if (Number.isFinite(number) && number >= 0) return number;
  throw new UsageError(`strategy ${text}: expected a number for ${key}, got ${JSON.stringify(value)}`);
}
