/** @file The curves of a training: what the validations say against the base, and what every update logged. */

import type { GuardSettings, GuardVerdict, KeptCheckpoint, RewardChange } from "../training/finetune/guards.js";
import type { UpdateRecord, ValidationRecord } from "../training/finetune/records.js";
import type { Html } from "./html.js";
import { type Curve, type CurvePoint, lineChart, type LineChart } from "./line-chart.js";

/** What {@link guardCharts} draws. */
export interface GuardCurves {
  readonly validations: readonly ValidationRecord[];
  readonly verdicts: readonly GuardVerdict[];
  readonly guards: GuardSettings;
  readonly kept: KeptCheckpoint;
}

/** Each reward, diversity and divergence over the validations, with the base, the limits, the kept step and the first alarm. */
export function guardCharts({ validations, verdicts, guards, kept }: GuardCurves): Html[] {
  const first = verdicts[0];
  if (first === undefined) return [];
  const alarmed = verdicts.find(({ alarm }) => alarm !== null);
  const steps: LineChart["steps"] = [
    ...(kept.step === 0 ? [] : [{ x: kept.step, label: "kept", kind: "kept" as const }]),
    ...(alarmed === undefined ? [] : [{ x: alarmed.step, label: "alarm", kind: "alarm" as const }]),
  ];
  const shared = { steps, last: validations.at(-1)?.step ?? 0 };
  const rewardChart = (reward: string, tone: Curve["tone"], note: string): Html | null => {
    const changes = verdicts.flatMap(({ step, guide, heldOut }) => {
      const change = [...guide, ...heldOut].find((one) => one.reward === reward);
      return change === undefined ? [] : [{ step, change }];
    });
    const base = changes[0]?.change.base ?? Number.NaN;
    const points = [{ x: 0, y: base, low: base, high: base }, ...changes.map(banded)];
    const curves = [{ name: reward, tone, points, dots: true }];
    return lineChart({ title: reward, note, curves, levels: [{ y: base, label: "base" }], ...shared });
  };
  return [
    ...first.guide.map(({ reward }) => rewardChart(reward, "guide", "guide; band: two standard errors of the paired differences")), // prettier-ignore
    ...first.heldOut.map(({ reward }) =>
      rewardChart(reward, "held", "held out: training never sees it; band as for the guide"),
    ),
    diversityChart(verdicts, guards, shared),
    divergenceChart(validations, guards, shared),
  ].flatMap((chart) => chart ?? []);
}

/** The base's mean plus the paired difference, so that the band tells the difference from the base. */
function banded({ step, change }: { readonly step: number; readonly change: RewardChange }): CurvePoint {
  const error = 2 * change.standardError;
  return { x: step, y: change.now, low: change.now - error, high: change.now + error };
}

type Shared = Pick<LineChart, "steps" | "last">;

function diversityChart(verdicts: readonly GuardVerdict[], guards: GuardSettings, shared: Shared): Html | null {
  const measured = verdicts.flatMap(({ step, diversity }) => (diversity === null ? [] : [{ step, ...diversity }]));
  const base = measured[0]?.base;
  if (base === undefined) return null;
  const { diversityFloor: floor } = guards;
  const points = [{ x: 0, y: base }, ...measured.map(({ step, now }) => ({ x: step, y: now }))];
  return lineChart({
    title: "diversity",
    note: "bits, mean over the prompts",
    curves: [{ name: "diversity", tone: "plain", points, dots: true }],
    levels: [
      { y: base, label: "base" },
      ...(floor === null ? [] : [{ y: floor * base, label: `floor, ${(100 * floor).toFixed(0)} %` }]),
    ],
    ...shared,
  });
}

function divergenceChart(
  validations: readonly ValidationRecord[],
  { divergenceLimit: limit }: GuardSettings,
  shared: Shared,
): Html | null {
  const points = validations.flatMap(({ step, divergence }) => (divergence === null ? [] : [{ x: step, y: divergence }])); // prettier-ignore
  if (points.length < 2) return null;
  // a limit that is far away would press the curve flat
  const near = limit !== null && Math.max(...points.map(({ y }) => y)) > limit / 4;
  return lineChart({
    title: "divergence from the base",
    note: `mean squared difference of the noise predictions${limit === null || near ? "" : `; the limit of ${limit} is above`}`,
    curves: [{ name: "divergence", tone: "plain", points, dots: true }],
    levels: near ? [{ y: limit, label: "limit" }] : [],
    ...shared,
  });
}

/** Not metrics: what all updates share, and what has charts of its own. */
const OWN = ["step", "loss", "learningRate", "gradientNorm", "seconds", "pretrain/loss", "pretrain/gradientNorm", "gradientRatio"]; // prettier-ignore

/** Loss, rewards of the training batches, gradient norms and their ratio, learning rate, and whatever else the updates logged. */
export function trainingCharts(updates: readonly UpdateRecord[]): Html[] {
  const last = updates.at(-1)?.step ?? 0;
  const curve = (key: string, name: string, tone: Curve["tone"] = "plain"): Curve => ({
    name,
    tone,
    points: updates.flatMap((update) => {
      const value = update[key];
      return typeof value === "number" ? [{ x: update.step, y: value }] : [];
    }),
  });
  const keys = [...new Set(updates.flatMap((update) => Object.keys(update)))];
  const rest = keys.filter((key) => !OWN.includes(key));
  const rewards = rest.filter((key) => key.startsWith("reward/"));
  const note = updates.length > 120 ? "means of stretches of updates; band: 10th to 90th percentile" : "each update";
  const chart = (title: string, curves: Curve[], more: Partial<LineChart> = {}): Html | null =>
    lineChart({ title, note, curves, last, ...more });
  const norms = [curve("gradientNorm", "loss", "guide"), curve("pretrain/gradientNorm", "pre-training loss", "held")];
  return [
    chart("loss", [curve("loss", "loss", "guide")]),
    ...rewards.map((key) => chart(`${key.slice(7)}, training pictures`, [curve(key, key, "guide")])),
    chart("pre-training loss", [curve("pretrain/loss", "pre-training loss", "held")]),
    chart(
      "gradient norm",
      norms.filter(({ points }) => points.length > 0),
      { logarithmic: true },
    ),
    chart("ratio of the gradient norms", [curve("gradientRatio", "ratio")], { logarithmic: true }),
    ...rest.filter((key) => !rewards.includes(key)).map((key) => chart(key, [curve(key, key)])),
    chart("learning rate", [curve("learningRate", "learning rate")]),
  ].flatMap((one) => one ?? []);
}
