// What an operator may say of an engine, beyond the schema.
import type { Engine } from '@agent-executor/protocol'
import t from 'tap'
import { engineProblems } from '../../src/profiles/engine.ts'

const argv = ['own', '{{prompt}}']

t.test('an engine is an adapter that is code, or a program that its document says', async (t) => {
  const right: Engine[] = [
    { adapter: 'shell' },
    { adapter: 'codex', image: 'own/codex:1', probe: { argv: ['codex', '--version'], prints: '{{anything}}' } },
    { adapter: 'program', program: { argv } },
    {
      ...{ adapter: 'program', providers: ['openai'] },
      program: {
        argv: ['own', '--in', '{{workspace}}', '--session={{ sessionId }}'],
        with: { model: ['-m', '{{model}}'], system: ['-s', '{{system}}'] },
        env: { URL: '{{gateway}}/v1' },
        files: [{ path: '.own/a.json', content: '{"home": "{{home}}"}' }],
        quarantine: ['.own', '.own/*.json'],
        output: 'codex',
      },
    },
  ]
  for (const engine of right) t.same(engineProblems(engine), [], JSON.stringify(engine))
})

t.test('what is wrong with one is told by its field', async (t) => {
  const program = (change: object): Engine => ({ adapter: 'program', program: { argv, ...change } })
  const wrong: [Engine, string, RegExp][] = [
    [{ adapter: 'program' }, '/program', /required/],
    [{ adapter: 'codex', program: { argv } }, '/program', /means nothing to the adapter codex/],
    [{ adapter: 'codex', providers: [] }, '/providers', /come with the adapter codex/],
    [program({ argv: [''] }), '/program/argv/0', /name of the program/],
    [program({ argv: ['own', 'a\0b'] }), '/program/argv/1', /NUL/],
    [program({ argv: ['own', '{{promt}}'] }), '/program/argv/1', /names promt, and there are only prompt, model/],
    [program({ argv: ['own', '{{model}}'] }), '/program/argv/1', /belongs into with.model/],
    [program({ env: { A: '{{ system }}' } }), '/program/env/A', /belongs into with.system/],
    [program({ with: { model: ['{{system}}'] } }), '/program/with/model/0', /belongs into with.system/],
    [program({ with: { system: ['-s', '{{who}}'] } }), '/program/with/system/1', /names who/],
    [program({ files: [{ path: '../a', content: '' }] }), '/program/files/0/path', /\.\./],
    [program({ files: [{ path: 'a', content: '{{x}}' }] }), '/program/files/0/content', /names x/],
    [program({ quarantine: ['a', 'b//c'] }), '/program/quarantine/1', /empty/],
    [{ adapter: 'shell', probe: { argv: [''] } }, '/probe/argv/0', /name of the program/],
  ]
  for (const [engine, path, message] of wrong) {
    const problems = engineProblems(engine)
    t.same(
      problems.map((problem) => problem.path),
      [path],
      JSON.stringify(problems),
    )
    t.match(problems[0]?.message, message)
  }
})
