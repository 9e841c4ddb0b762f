/** @file `laurel serve --score`: a server that other programs ask for scores, until it is interrupted. */

import { EXIT, UsageError } from "../../errors.js";
import { unlessAborted } from "../../util/abort.js";
import { readSecret, redact, type Secret } from "../../util/secret.js";
import { type AnsweredRequest, type ScoreServer, serveScores } from "../../web/serve-scores.js";
import type { Action, CommandContext } from "../context.js";
import { judgesOf, openJudges } from "../judges.js";
import { printable, printJson, warningLine } from "../output.js";
import type { ServeFlags } from "./serve.entry.js";

/** The variable that holds the token where none is named. */
const TOKEN_VARIABLE = "LAUREL_TOKEN";

/** Prints the address once requests are taken; a line for each request goes to stderr. */
export const serve: Action<ServeFlags> = async (context, _, flags) => {
  if (flags.score !== true) {
    throw new UsageError("laurel serve: expected --score, which serves scores over HTTP, got nothing to serve");
  }
  const { terminal, signal } = context;
  const starting = start(context, flags, await tokenOf(flags, terminal.environment));
  // a start that nobody waits for any more ends as soon as it can
  starting.then((server) => (signal.aborted ? server.close() : undefined)).catch(() => undefined);
  const server = await unlessAborted(starting, signal);
  const { url, reward } = server;
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, url, reward: reward ?? null });
  else terminal.stdout.write(`laurel scores at ${url}${reward === undefined ? "" : ` with ${reward.name}`}\n`);
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  await server.close();
  return EXIT.ok;
};

function start(context: CommandContext, flags: ServeFlags, token: Secret | undefined): Promise<ScoreServer> {
  const { terminal } = context;
  const judges = judgesOf(flags);
  const note = (text: string): void => void terminal.stderr.write(`${warningLine(terminal, redact(text))}\n`);
  const open = async () => {
    const session = await context.openSession();
    try {
      return { reward: await openJudges(session, judges), close: () => session.close() };
    } catch (error) {
      await session.close();
      throw error;
    }
  };
  return serveScores(open, {
    host: flags.host,
    port: flags.port,
    token: token?.reveal(),
    allowedHosts: flags.allowHost,
    allowedOrigins: flags.allowOrigin,
    lazy: flags.lazy,
    unloadAfter: flags.unloadAfter,
    limits: {
      maxBodyBytes: flags.maxBody * 1_000_000,
      maxPixels: flags.maxPixels,
      maxImages: flags.maxImages,
      maxWaiting: flags.maxWaiting,
    },
    onAnswer: (answered) => {
      if (flags.quiet !== true) terminal.stderr.write(`${logLine(answered)}\n`);
    },
    onFault: (error) => note(`fault: ${error instanceof Error ? error.message : String(error)}`),
  });
}

/** The token of `--token-env` or `--token-file`, or of LAUREL_TOKEN. @throws UsageError when what is named holds none */
async function tokenOf(
  { tokenEnv, tokenFile }: ServeFlags,
  environment: CommandContext["terminal"]["environment"],
): Promise<Secret | undefined> {
  if (tokenEnv !== undefined && tokenFile !== undefined) {
    throw new UsageError("--token-env, --token-file: expected one of them, got both");
  }
  const source = tokenFile === undefined ? { env: tokenEnv ?? TOKEN_VARIABLE } : { file: tokenFile };
  const token = await readSecret(source, "token", environment);
  if (token === undefined && tokenEnv !== undefined) {
    throw new UsageError(`--token-env: expected a token in the environment variable ${tokenEnv}, got none`);
  }
  return token;
}

function logLine({ method, route, status, images, ms }: AnsweredRequest): string {
  const scored = images === undefined ? "" : `, ${images} ${images === 1 ? "picture" : "pictures"}`;
  return printable(`${method.slice(0, 10)} ${route} ${status}${scored}, ${Math.round(ms)} ms`);
}
