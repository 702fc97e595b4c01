// The README's curl lines, run as they stand against a real server and agent, answer what the README shows.
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import t from 'tap'
import { readText } from '../../src/documents.ts'
import { freePort, startAgent, startServer } from '../../src/processes.ts'

type Step = { curl: string; shown: string | null }

/** Each curl line under "Try it"; the last one of a block with the answer that is shown after it. */
const steps = (): Step[] => {
  const text = /^## Try it$([\s\S]*?)^## /m.exec(readText('README.md'))?.[1] ?? ''
  const found: Step[] = []
  for (const [, language, body = ''] of text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)) {
    const last = found.at(-1)
    if (language === 'sh') for (const curl of body.trim().split('\n')) found.push({ curl, shown: null })
    else if (language === 'json' && last !== undefined) last.shown = body
  }
  return found
}

const LEFT_OUT = '…'

/** `…` alone is a value that differs; at the end of an object it stands for fields that are left out. */
const parseShown = (shown: string): unknown =>
  JSON.parse(shown.replace(/,\s*…\s*}/g, `, "${LEFT_OUT}": 0}`).replace(/:\s*…/g, `: "${LEFT_OUT}"`))

/** What differs between the two, as sentences. Milliseconds are compared by type. */
const differences = (shown: unknown, given: unknown, path = ''): string[] => {
  if (shown === LEFT_OUT) return given === undefined ? [`${path} is missing`] : []
  if (typeof shown === 'number' && path.endsWith('Ms')) return typeof given === 'number' ? [] : [`${path} is ${given}`]
  if (typeof shown !== 'object' || shown === null || typeof given !== 'object' || given === null)
    return shown === given ? [] : [`${path} is ${JSON.stringify(given)}, not ${JSON.stringify(shown)}`]
  const { [LEFT_OUT]: open, ...fields } = shown as Record<string, unknown>
  const answer = given as Record<string, unknown>
  const extra = open === undefined ? Object.keys(answer).filter((key) => !(key in fields)) : []
  return [
    ...extra.map((key) => `${path}/${key} is not shown`),
    ...Object.entries(fields).flatMap(([key, value]) => differences(value, answer[key], `${path}/${key}`)),
  ]
}

t.test('answers are compared by what is shown of them', async (t) => {
  const shown = parseShown('{"a": 1, "tookMs": 5, "id": "…", "n": …, "o": {"x": true, …}, "list": [{"y": 1}]}')
  t.same(differences(shown, { a: 1, tookMs: 7, id: 'x', n: 3, o: { x: true, z: 0 }, list: [{ y: 1 }] }), [])
  t.same(differences(shown, { a: 2, tookMs: 'x', id: 'x', n: 3, o: { x: true }, list: [{ y: 1 }, {}], more: 1 }), [
    '/more is not shown',
    '/a is 2, not 1',
    '/tookMs is x',
    '/list/1 is not shown',
  ])
})

t.test('the curl lines of the README answer what it shows', async (t) => {
  const port = await freePort()
  const dir = t.testdir()
  const server = await startServer(`${dir}/server`, port)
  t.teardown(server.kill)
  const agent = startAgent(`${dir}/agent`, port)
  t.teardown(agent.kill)
  await agent.logged(({ msg }) => msg === 'registered')

  let commandId = ''
  const run = async (curl: string): Promise<unknown> => {
    const { stdout } = await promisify(execFile)(
      '/bin/sh',
      ['-c', curl.replaceAll('localhost:3000', `localhost:${port}`)],
      {
        env: { PATH: process.env.PATH ?? '', ID: commandId },
      },
    )
    const answer = stdout === '' ? null : JSON.parse(stdout)
    commandId = (answer as { commandId?: string } | null)?.commandId ?? commandId
    return answer
  }
  /** What only reads is repeated until the command has come so far; what writes is done once. */
  const answerOf = async ({ curl, shown }: Step): Promise<string[]> => {
    const untilMs = performance.now() + 20_000
    for (;;) {
      const answer = await run(curl)
      const found = shown === null ? [] : differences(parseShown(shown), answer)
      if (found.length === 0 || / -(d|X) /.test(curl) || performance.now() > untilMs) return found
      await sleep(50)
    }
  }

  const all = steps()
  t.ok(all.filter(({ shown }) => shown !== null).length >= 6)
  for (const step of all) t.same(await answerOf(step), [], step.curl)
})
