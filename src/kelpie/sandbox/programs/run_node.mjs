// Calls a function of a JavaScript or TypeScript source, or runs a script. Input: eight bytes of length, then JSON with
// directory, code, language ("javascript" or "typescript"), function (null: a script), arguments.
// Result: {"ok": true, "value": text} or {"ok": false, "error": "Error: what went wrong"}.
// The input pipe stays open as long as the server lives; when it is closed, this process ends with all its children.
import fs from "node:fs";
import module from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

function read(length) {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const count = fs.readSync(0, bytes, at, length - at, null);
    if (count === 0) process.exit(1);
    at += count;
  }
  return bytes;
}

const given = JSON.parse(read(Number(read(8).readBigUInt64BE())).toString());
process.stdin.on("end", () => process.kill(0, "SIGKILL"));
process.stdin.resume();

function finish(result) {
  const file = path.join(given.directory, "result.json");
  fs.writeFileSync(file + ".new", JSON.stringify(result));
  fs.renameSync(file + ".new", file);
  process.exit(0);
}

function fail(error) {
  console.error(error instanceof Error ? error.stack : error);
  finish({ ok: false, error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) });
}

function told(value) {
  if (typeof value === "string") return value;
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value);
}

// The arguments in the order in which the function names them; one object if it takes its parameters apart itself.
function ordered(tool, names) {
  const list = /^[^(]*\(([^)]*)\)/s.exec(tool.toString())?.[1] ?? "";
  if (list.trim().startsWith("{")) return [given.arguments];
  const wanted = list.split(",").map((one) => one.split("=")[0].trim()).filter(Boolean);
  const known = wanted.every((name) => /^[\w$]+$/.test(name));
  return (known && wanted.length > 0 ? wanted : names).map((name) => given.arguments[name]);
}

function plain(code) {
  if (given.language !== "typescript") return code;
  if (module.stripTypeScriptTypes) return module.stripTypeScriptTypes(code, { mode: "transform" });
  return code;
}

async function main() {
  let code = plain(given.code);
  if (given.function !== null) code += `\nexport { ${given.function} as kelpieTool };\n`;
  const file = path.join(given.directory, "tool.mjs");
  fs.writeFileSync(file, code);
  const loaded = await import(pathToFileURL(file).href).catch((error) => {
    if (error instanceof SyntaxError && given.language === "typescript" && !module.stripTypeScriptTypes) {
      throw new SyntaxError(`${error.message} (node ${process.version} reads no types; TypeScript needs node 22.13)`);
    }
    throw error;
  });
  if (given.function === null) return "";
  return told(await loaded.kelpieTool(...ordered(loaded.kelpieTool, given.order)));
}

process.on("uncaughtException", fail);
main().then((value) => finish({ ok: true, value }), fail);
