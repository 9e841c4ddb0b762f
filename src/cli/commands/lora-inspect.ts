/** @file `laurel lora inspect`: what a LoRA file holds, for people or as JSON. */

import { EXIT } from "../../errors.js";
import { inspectLora, type LoraFacts } from "../../library/lora.js";
import { LORA_COMPONENTS } from "../../weights/lora/types.js";
import type { Action } from "../context.js";
import { byteCount, palette, printable, printJson, shownPath, table, type Terminal } from "../output.js";
import type { LoraInspectFlags } from "./lora-inspect.entry.js";

/** Layers shown; JSON has all. */
const SHOWN = 16;
/** Characters of a metadata value shown. */
const SHOWN_TEXT = 100;

export const loraInspect: Action<LoraInspectFlags> = async ({ terminal }, [file = ""], flags) => {
  const facts = await inspectLora(file);
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, ...facts });
  else terminal.stdout.write(`${factLines(facts, terminal)}\n${layerTable(facts, terminal)}`);
  return EXIT.ok;
};

function factLines({ path, bytes, naming, parameters, layers, metadata }: LoraFacts, terminal: Terminal): string {
  const { dim } = palette(terminal.stdout, terminal.environment);
  const facts: [string, string][] = [
    ["file", `${shownPath(path)}, ${byteCount(bytes)}`],
    ["naming", naming],
    ...LORA_COMPONENTS.flatMap((component): [string, string][] => {
      const own = layers.filter((layer) => layer.component === component);
      if (own.length === 0) return [];
      const kinds = `rank ${distinct(own.map(({ rank }) => rank))}, alpha ${distinct(own.map(({ alpha }) => alpha))}`;
      return [[component, `${own.length} layers, ${kinds}, ${[...new Set(own.map(({ dtype }) => dtype))].join(", ")}`]];
    }),
    ["numbers", String(parameters)],
    ...Object.entries(metadata).map(([key, value]): [string, string] => [key, shortened(value)]),
  ];
  const width = Math.max(...facts.map(([name]) => name.length));
  return facts.map(([name, value]) => `${dim(printable(name).padEnd(width))} ${printable(value)}\n`).join("");
}

function layerTable({ layers }: LoraFacts, terminal: Terminal): string {
  const { dim } = palette(terminal.stdout, terminal.environment);
  // what is not a number comes first
  const size = (norm: number): number => (Number.isFinite(norm) ? norm : Infinity);
  const sorted = [...layers].sort((a, b) => size(b.norm) - size(a.norm) || (a.layer < b.layer ? -1 : 1));
  const rows = sorted
    .slice(0, SHOWN)
    .map(({ component, layer, rank, scale, down, up, norm }) => [
      component,
      printable(layer),
      String(rank),
      scale.toPrecision(3),
      `${up[0]} x ${down.slice(1).join(" x ")}`,
      norm.toPrecision(4),
    ]);
  const columns = [
    { title: "network" },
    { title: "layer" },
    { title: "rank", align: "right" },
    { title: "alpha/rank", align: "right" },
    { title: "weight" },
    { title: "norm", align: "right" },
  ] as const;
  const more = layers.length > SHOWN ? dim(`and ${layers.length - SHOWN} more; --json lists all`) + "\n" : "";
  return table(columns, rows, (text, row) => (row === "head" ? dim(text) : text)) + more;
}

function distinct(values: readonly number[]): string {
  return [...new Set(values)].sort((a, b) => a - b).join(", ");
}

function shortened(text: string): string {
  return text.length <= SHOWN_TEXT ? text : `${text.slice(0, SHOWN_TEXT)}...`;
}
