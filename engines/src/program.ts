/** An engine that a document says whole: a program, its arguments, and how its output is read. */
import type { EngineProgram } from '@agent-executor/protocol'
import type { EngineAdapter, EngineParser, EngineRun } from './engine.ts'

const FOLDER = '.agent-executor'
/** An answer is text for people; the whole output is in the log. */
const ANSWER_CHARACTERS_MAX = 65_536

/** `parserOf`: of the adapters that are code. */
export function programAdapter(
  program: EngineProgram,
  parserOf: (name: string) => EngineAdapter['parser'],
): EngineAdapter {
  const { output = 'text' } = program
  return {
    name: 'program',
    call: (run) => callOf(program, run),
    parser: output === 'text' ? textParser : parserOf(output),
    sessionFiles: [],
  }
}

function callOf(program: EngineProgram, { model, system, sessionId, gatewayUrl, folders }: EngineRun) {
  const systemFile = `${FOLDER}/system.md`
  const values: Readonly<Record<string, string>> = {
    prompt: `${folders.input}/prompt`,
    model: model ?? '',
    system: `${folders.home}/${systemFile}`,
    gateway: gatewayUrl,
    ...{ home: folders.home, workspace: folders.workspace, sessionId },
  }
  const filled = (text: string): string =>
    text.replace(/\{\{\s*([A-Za-z]+)\s*\}\}/g, (whole, name: string) => values[name] ?? whole)
  const { argv, with: added = {}, env = {}, files = [], stdin = 'nothing', quarantine = [] } = program
  return {
    argv: [
      ...argv,
      ...(model === null ? [] : (added.model ?? [])),
      ...(system === null ? [] : (added.system ?? [])),
    ].map(filled),
    stdin,
    env: Object.fromEntries(Object.entries(env).map(([name, text]) => [name, filled(text)])),
    homeFiles: [
      ...files.map(({ path, content }) => ({ path, content: filled(content) })),
      ...(system === null ? [] : [{ path: systemFile, content: system }]),
    ],
    quarantine,
  }
}

/** The end of what it printed is its answer. */
function textParser(): EngineParser {
  let lines = ''
  return {
    take(line) {
      lines = `${lines}${line}\n`
      // Cut now and then, not for each line.
      if (lines.length > 2 * ANSWER_CHARACTERS_MAX) lines = lines.slice(-ANSWER_CHARACTERS_MAX)
      return []
    },
    outcome: () => {
      const answer = lines.trim().slice(-ANSWER_CHARACTERS_MAX)
      return { answer: answer === '' ? null : answer, sessionId: null, failure: null }
    },
  }
}
