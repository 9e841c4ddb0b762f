/** @file The page of a comparison of strategies: what to take, curves, differences with their intervals, costs, pictures. Self-contained. */

import type { ComparedArm, MetricDescription, StrategyComparison } from "../evaluation/strategy-comparison.js";
import { budgetVerdicts, decidingMetrics, fewPrompts, pictures } from "../evaluation/strategy-verdict.js";
import { budgetCharts, forestPlot, kindInWords, searchChart } from "./comparison-charts.js";
import { breakable, figure, percent, seriesName, strategySeries, type StrategySeries } from "./comparison-series.js";
import { COMPARISON_STYLE } from "./comparison-style.js";
import { costTable, metricTable } from "./comparison-tables.js";
import type { EmbeddedImage } from "./embed.js";
import { type Html, html } from "./html.js";
import { documentPage, factList, picture, shownTime, table } from "./parts.js";

/** What each strategy chose for one prompt. */
export interface ComparisonExample {
  readonly prompt: string;
  /** In pictures drawn plainly. */
  readonly budget: number;
  readonly pictures: readonly {
    readonly strategy: string;
    readonly image: EmbeddedImage;
    readonly guide: number;
    /** Whether everything that the prompt states holds; null where that is not known. */
    readonly holds: boolean | null;
  }[];
}

/** What the page says besides the figures. */
export interface ComparisonAbout {
  readonly title: string;
  readonly runId: string;
  /** Name of what draws. */
  readonly generator: string;
  /** Name of the reward that chooses. */
  readonly guide: string;
  /** As they were given. */
  readonly sampler: string;
  readonly steps: string;
  readonly guidance: string;
  /** ISO 8601. */
  readonly date: string;
  /** Laurel's. */
  readonly version: string;
  /** The command line that made it. */
  readonly command: string;
  readonly examples?: readonly ComparisonExample[] | undefined;
}

/** The page: one file without scripts that fetches nothing. Figures that JSON holds as null are shown as `-`. */
export function comparisonPage(comparison: StrategyComparison, about: ComparisonAbout): string {
  const series = strategySeries(comparison);
  const { strategies, prompts } = comparison;
  const status = `${counted(strategies.length, "strategy", "strategies")}, ${counted(prompts, "prompt")}`;
  return documentPage(
    { title: about.title, runId: about.runId, status, pictures: "data:", style: COMPARISON_STYLE },
    html`${head(comparison, about)} ${verdict(comparison)} ${curves(comparison, series)}
    ${differences(comparison, series)} ${tables(comparison, series)} ${warningsOf(comparison, series)}
    ${examples(about.examples ?? [], series)} ${method(comparison, about)}`,
    html`Made by <code>${about.command}</code>`,
  );
}

function head(
  { prompts, descriptions, budgets, strategies, baseline, arms }: StrategyComparison,
  about: ComparisonAbout,
): Html {
  const drawn = `${about.generator}, chosen by ${about.guide} · ${about.sampler}, ${about.steps} steps, guidance ${about.guidance}`;
  const seeds = budgets.map((budget) => {
    const trials = arms.find((arm) => arm.strategy === baseline && arm.budget === budget)?.trials ?? 0;
    return Math.round(trials / Math.max(1, prompts));
  });
  return html`<header>
    <h1>${about.title}</h1>
    <p class="negative">${drawn}</p>
    ${factList([
      ["strategies", String(strategies.length)],
      ["prompts", descriptions === prompts ? String(prompts) : `${prompts}, ${descriptions} distinct`],
      ["budgets, in pictures", budgets.join(", ")],
      ["seeds of a prompt", new Set(seeds).size === 1 ? String(seeds[0]) : seeds.join(", ")],
      ["searches", String(arms.reduce((sum, arm) => sum + arm.trials, 0))],
    ])}
    <p class="note">
      Every strategy searched for a picture with the same compute, for the same prompts and from the same seeds as
      ${baseline}. The figures are those of the picture that each search chose.
    </p>
  </header>`;
}

function verdict(comparison: StrategyComparison): Html {
  const deciding = decidingMetrics(comparison.metrics);
  const few = fewPrompts(comparison);
  const stands = deciding.map(({ title }) => title).join(", ");
  return html`<section class="card verdict">
    <strong>What to take</strong>
    ${deciding[0] === undefined ? null : html`<p class="note">Decided by the ${kindInWords(deciding[0].kind)}: ${stands}. Differences to ${comparison.baseline}, in brackets their intervals corrected for all comparisons.</p>`}
    <ul>
      ${budgetVerdicts(comparison).map(
        ({ budget, sentences }) =>
          html`<li>
            <b>${pictures(budget)}: ${breakable(sentences[0] ?? "")}</b
            >${sentences.slice(1).map((one) => html`<p class="note">${breakable(`${one}.`)}</p>`)}
          </li>`,
      )}
      ${few === null ? null : html`<li>${few}</li>`}
    </ul>
  </section>`;
}

function curves(comparison: StrategyComparison, series: readonly StrategySeries[]): Html | null {
  const charts = [...budgetCharts(comparison, series), searchChart(comparison, series)].flatMap((one) => one ?? []);
  if (charts.length === 0) return null;
  return html`<h2>What more compute brings</h2>
    <p class="lead">
      Each line is a strategy: its mean over ${comparison.descriptions} prompts with the 95 % interval, against the
      budget in pictures; higher is better. The intervals hold how much prompts differ, which all strategies share:
      whether two strategies differ is told by the differences below.
    </p>
    <div class="strategies">${series.map(seriesName)}</div>
    <div class="curves">${charts}</div>`;
}

function differences(comparison: StrategyComparison, series: readonly StrategySeries[]): Html | null {
  const plots = comparison.metrics.flatMap((metric) => forestPlot(comparison, series, metric) ?? []);
  if (plots.length === 0) return null;
  return html`<h2>Differences to ${comparison.baseline}</h2>
    <p class="lead">
      A dot is the mean difference on the same prompts and seeds, its line the corrected interval, the number at the
      left the budget. Right of zero is better; where the line crosses zero, nothing is shown.
    </p>
    <div class="forests">${plots}</div>`;
}

function tables(comparison: StrategyComparison, series: readonly StrategySeries[]): Html {
  return html`<h2>All figures</h2>
    <p class="lead">
      Means over prompts and seeds, and their difference to ${comparison.baseline} with the interval at the level that
      the correction asks for; p is not corrected.
    </p>
    ${comparison.metrics.map((metric) => metricTable(comparison, series, metric))}
    <h2>Costs</h2>
    <p class="lead">
      Means of a search. The bars are operations of the networks as a share of the budget, which ends at the line;
      seconds depend on the machine.
    </p>
    ${costTable(comparison, series)}`;
}

function warningsOf({ arms, budgets }: StrategyComparison, series: readonly StrategySeries[]): Html | null {
  const warned = series.flatMap((one) => {
    const own = arms.filter(({ strategy }) => strategy === one.strategy);
    const missing = budgets.filter((budget) => !own.some((arm) => arm.budget === budget));
    const told = sharedByBudgets(own).map(({ message, shares }) => `${shares}: ${withoutName(message, one.strategy)}`);
    const left = missing.length === 0 ? [] : [`no searches at ${missing.join(", ")}`];
    return [...left, ...told].map((text) => html`<li>${seriesName(one)}, ${text}</li>`);
  });
  if (warned.length === 0) return null;
  return html`<h2>Warnings</h2>
    <p class="lead">
      What strategies said of their searches, and in how many; numbers in a text are those of one search.
    </p>
    <section class="card warnings">
      <ul>
        ${warned}
      </ul>
    </section>`;
}

/** A message that begins with the strategy's own name, without it. */
function withoutName(message: string, strategy: string): string {
  const name = `${strategy.split(":")[0]}: `;
  return message.startsWith(name) ? message.slice(name.length) : message;
}

/** A warning at several budgets once, with its shares: `in 100 % of the searches at 8, 40 % at 16`. Texts may differ in their numbers. */
function sharedByBudgets(arms: readonly ComparedArm[]): { readonly message: string; readonly shares: string }[] {
  const found = new Map<string, { message: string; shares: string[] }>();
  for (const { budget, warnings } of arms) {
    for (const { message, share } of warnings) {
      const kind = message.replace(/\d+(\.\d+)?/g, "0");
      const said = `${percent(share)} ${found.has(kind) ? "" : "of the searches "}at ${budget}`;
      found.set(kind, { message, shares: [...(found.get(kind)?.shares ?? []), said] });
    }
  }
  return [...found.values()].map(({ message, shares }) => ({ message, shares: `in ${shares.join(", ")}` }));
}

function examples(shown: readonly ComparisonExample[], series: readonly StrategySeries[]): Html | null {
  if (shown.length === 0) return null;
  return html`<h2>Pictures that were chosen</h2>
    <p class="lead">
      For each prompt the picture that every strategy chose, from the same first seed, with its guide. These are
      examples: whether strategies differ is told by the figures above.
    </p>
    ${shown.map(
      ({ prompt, budget, pictures: chosen }) =>
        html`<section class="item">
          <h3>${prompt}</h3>
          <p class="note">a budget of ${pictures(budget)}</p>
          <div class="examples">
            ${chosen.map(({ strategy, image, guide, holds }) => {
              const one = series.find((other) => other.strategy === strategy);
              return html`<figure>
                ${picture(image, `${prompt}, chosen by ${strategy}`)}
                <figcaption>
                  ${one === undefined ? html`<b>${strategy}</b>` : seriesName(one)}<span>guide ${figure(guide)}</span>
                  ${holds === null ? null : holds ? html`<span class="holds">✓ as stated</span>` : html`<span class="missed">✗ not as stated</span>`}
                </figcaption>
              </figure>`;
            })}
          </div>
        </section>`,
    )}`;
}

/** What kinds of metrics mean. */
const MEANING: Readonly<Record<MetricDescription["kind"], string>> = {
  guide:
    "what the strategies search by and choose with. A strategy can raise it without a better picture, so that alone it proves little",
  "held-out": "rewards that judge the chosen picture but have no say in the search",
  truth: "what is known of the chosen picture without any reward, such as whether what the prompt states is in it",
  diversity: "how much the best pictures of one search differ from each other. Less of it can be the price of a higher guide", // prettier-ignore
};

function method({ metrics, budgets, descriptions, baseline, arms }: StrategyComparison, about: ComparisonAbout): Html {
  const kinds = [...new Set(metrics.map(({ kind }) => kind))];
  const comparisons = arms.filter(({ strategy }) => strategy !== baseline).length;
  return html`<h2>How it was measured</h2>
    <section class="card">
      <ul class="method">
        <li>
          <b>The same compute.</b> A budget of ${budgets[0] ?? "n"} is what as many plainly drawn pictures take, counted
          in floating-point operations of the networks: evaluations of the denoiser, decoding, scoring, encoding and
          gradients, previews and discarded pictures included. Text encoding, once for each prompt, and the time outside
          of programs are not counted. Of a generator that cannot be followed step by step, pictures are counted.
        </li>
        <li>
          <b>The same prompts and seeds.</b> Each search has a partner of ${baseline} on its prompt and first seed;
          differences are taken between partners.
        </li>
        <li>
          <b>Intervals</b> are those of the percentile bootstrap over ${counted(descriptions, "distinct prompt")} with
          10,000 resamples: all seeds and repetitions of a prompt are resampled together. From n prompts no p below
          2<sup>1−n</sup> is given, that of n signs which agree.
        </li>
        <li>
          <b>Correction.</b> Many comparisons find differences by chance. For each metric the
          ${counted(comparisons, "comparison")} of strategies and budgets share an error of 5 % by Holm's procedure;
          metrics are not corrected for each other.
        </li>
        ${kinds.map(
          (kind) =>
            html`<li>
              <b>${kindInWords(kind).replace(/^./, (first) => first.toUpperCase())}</b>
              (${metrics.flatMap((one) => (one.kind === kind ? [one.title] : [])).join(", ")}): ${MEANING[kind]}.
            </li>`,
        )}
      </ul>
    </section>
    <div class="tables" style="margin-top:16px">
      ${table("Models and settings", [
        ["Generator", about.generator],
        ["Guide", about.guide],
        ["Sampler", about.sampler],
        ["Steps", about.steps],
        ["Guidance", about.guidance],
      ])}
      ${table("Run", [
        ["Date", shownTime(about.date)],
        ["Laurel", about.version],
        ["Baseline", baseline],
      ])}
    </div>`;
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
