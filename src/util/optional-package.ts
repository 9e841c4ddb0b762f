/** @file Packages that need not be installed. */

import { UsageError } from "../errors.js";

/** Loads a package that need not be installed. @throws UsageError, beginning with `where`, that says how to install the packages `names` */
export async function loadPackage<T>(load: () => Promise<T>, names: readonly string[], where: string): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== "ERR_MODULE_NOT_FOUND" && code !== "MODULE_NOT_FOUND") throw cause;
    const what = names.length === 1 ? "package" : "packages";
    throw new UsageError(`${where}: expected the ${what} ${names.join(" and ")}, got none installed; npm install ${names.join(" ")}`, { cause }); // prettier-ignore
  }
}
