/** @file What `laurel serve` takes. */

import { MAX_PIXELS } from "../../image/types.js";
import { decimal, declare, file, type FlagsOf, otherwise, several, textual, toggle, whole } from "../declare.js";
import { OUTPUT_OPTIONS, REWARD_OPTION, SESSION_OPTIONS } from "../options.js";

export const SERVE = declare({
  heading: "Pictures",
  summary: "score pictures for other programs, over HTTP",
  arguments: [],
  options: {
    score: toggle("serve scores and ranks, the one thing that is served today"),
    host: otherwise(
      "127.0.0.1",
      textual("address to listen on; others than this machine's own need a token", "address", "an address"),
    ),
    port: otherwise(8787, whole("port to listen on; 0 takes a free one", 0, 65_535, "port")),
    tokenEnv: textual(
      "environment variable with the bearer token that callers need (default: LAUREL_TOKEN, if it is set)",
      "name",
      "a variable's name",
    ),
    tokenFile: file("file that holds the bearer token alone"),
    allowHost: several(textual("further name that the server is reached by", "name", "a host name")),
    allowOrigin: several(textual("web page that may ask: https://pictures.example", "origin", "an origin")),
    ...REWARD_OPTION,
    lazy: toggle("load the reward with the first request rather than at once"),
    unloadAfter: decimal(
      "seconds without a request after which the reward gives its memory back (default: never)",
      0.001,
      1e6,
      "seconds",
    ),
    maxBody: otherwise(64, whole("megabytes of a request", 1, 1024, "MB")),
    maxPixels: otherwise(1 << 24, whole("pixels of a picture", 1, MAX_PIXELS, "pixels")),
    maxImages: otherwise(64, whole("pictures of a request", 1, 10_000)),
    maxWaiting: otherwise(16, whole("requests that wait while one is scored; further ones are sent away", 0, 10_000)),
    ...SESSION_OPTIONS,
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel serve --score",
    "laurel serve --score --reward image-reward-v1.0 --device auto --unload-after 300",
    "LAUREL_TOKEN=$(openssl rand -hex 16) laurel serve --score --host 0.0.0.0 --allow-host gpu.example",
    'curl -s "http://127.0.0.1:8787/v1/score?prompt=a%20red%20circle" -H "Content-Type: image/png" --data-binary @picture.png',
    'curl -s http://127.0.0.1:8787/v1/rank -F "prompt=a red circle" -F image=@first.png -F image=@second.png -F keep=1',
  ],
  notes: "Ctrl-C lets what is being scored end. docs/serve.md describes the interface.",
});

/** Options of `laurel serve`. */
export type ServeFlags = FlagsOf<typeof SERVE.options>;
