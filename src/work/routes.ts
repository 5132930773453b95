// The routes an agent serves: its own request topics first, then those of the configuration, each made complete.
import type { Config, RouteSettings } from "../config/schema.ts";
import { type Route, type Task, TASK_OF_WORD } from "../core/route.ts";
import { REQUEST_WORDS, type Topics } from "../core/topics.ts";

type Defaults = Pick<Config, "answer" | "classify" | "governor" | "queue" | "limits">;

export function routesOf(topics: Topics, config: Defaults & Pick<Config, "routes">): Route[] {
  const own = REQUEST_WORDS.map((word) => {
    const task = TASK_OF_WORD[word];
    return route({ name: word, filter: topics.request[word], task }, topics, config);
  });
  const configured = config.routes.map((settings, index) =>
    route({ ...settings, name: settings.name ?? `route-${index + 1}` }, topics, config),
  );
  return [...own, ...configured];
}

function route(
  settings: Partial<RouteSettings> & Pick<Route, "name" | "filter" | "task">,
  topics: Topics,
  { answer, classify, governor, queue, limits }: Defaults,
): Route {
  const { task } = settings;
  const system = settings.system ?? (task === "classify" ? classify.system : answer.system);
  return {
    name: settings.name,
    filter: settings.filter,
    task,
    replyTopic: settings.replyTopic ?? replyTopicOf(task, topics),
    allowReplyTo: [...(settings.allowReplyTo ?? answer.allowReplyTo)],
    replyForm: settings.replyForm ?? "json",
    ...(system.length > 0 && { system }),
    ...(task === "classify" && classifierOf(settings, classify.classifier)),
    labels: [...(settings.labels ?? (task === "classify" ? classify.labels : []))],
    examples: [...(settings.examples ?? (task === "classify" ? classify.examples : []))],
    truncate: settings.truncate ?? classify.truncate,
    maxTokens: settings.maxTokens ?? answer.maxTokens,
    temperature: settings.temperature ?? answer.temperature,
    deadlineMs: settings.deadlineMs ?? answer.deadlineMs,
    maxTextCharacters: settings.maxTextCharacters ?? answer.maxTextCharacters,
    maxPayloadBytes: settings.maxPayloadBytes ?? queue.maxPayloadBytes,
    ...limitsOf(settings, limits),
    priority: settings.priority ?? 5,
    courtesy: settings.courtesy ?? governor.courtesy,
  };
}

function limitsOf(settings: Partial<RouteSettings>, common: Config["limits"]) {
  const of = { ...common, ...settings };
  return {
    sender: of.sender,
    senderLimits: {
      questionsPerMinute: of.senderQuestionsPerMinute,
      tokensPerMinute: of.senderTokensPerMinute,
      openQuestions: of.senderOpenQuestions,
      openBytes: of.senderOpenBytes,
    },
    limits: {
      questionsPerMinute: of.questionsPerMinute,
      tokensPerMinute: of.tokensPerMinute,
      openQuestions: of.openQuestions,
    },
  };
}

function replyTopicOf(task: Task, { answer, label, record }: Topics): string {
  return { answer, classify: label, extract: record }[task];
}

/** A route with labels of its own does not take the common classifier. */
function classifierOf({ classifier, labels }: Partial<RouteSettings>, common: string | undefined) {
  const name = classifier ?? (labels === undefined ? common : undefined);
  return name === undefined ? {} : { classifier: name };
}
