// The project's provider of language models: it calls the tools that an engine offers, as that engine expects it.
import t from 'tap'
import { ANSWER, startFakeProvider } from './fixtures/fake-provider.ts'

const ask = async (url: string, path: string, body: object) => {
  const response = await fetch(url + path, { method: 'POST', body: JSON.stringify(body) })
  return { status: response.status, headers: response.headers, text: await response.text() }
}
const named = (...names: string[]) => names.map((name) => ({ name, input_schema: {} }))

t.test('the tool that writes is the best of those that are offered, in the form of the format', async (t) => {
  const provider = await startFakeProvider()
  t.teardown(provider.close)
  provider.behave({ writes: '/workspace/made by it' })
  const shell = "printf %s 'made' >'/workspace/made by it'"
  const responses = { model: 'm', stream: true, input: [] }
  const chat = (name: string) => ({ model: 'm', messages: [], tools: [{ type: 'function', function: { name } }] })
  const contents = (name: string) => ({ contents: [], tools: [{ functionDeclarations: [{ name }] }] })
  const rows: [string, object, string, string][] = [
    [
      '/v1/messages',
      { tools: named('Bash', 'Write'), messages: [] },
      '"name":"Write"',
      '"file_path":"/workspace/made by it"',
    ],
    ['/v1/messages', { tools: named('Read', 'Bash'), messages: [] }, '"name":"Bash"', shell],
    ['/v1/responses', { ...responses, tools: [{ type: 'function', name: 'exec_command' }] }, '"function_call"', shell],
    ['/v1/responses', { ...responses, tools: [{ type: 'function', name: 'shell' }] }, '"function_call"', '/bin/sh'],
    [
      '/v1/responses',
      { ...responses, tools: [{ type: 'custom', name: 'apply_patch' }] },
      '"custom_tool_call"',
      '*** Add File',
    ],
    ['/v1/chat/completions', chat('write'), '"tool_calls"', 'filePath'],
    ['/v1/chat/completions', chat('bash'), '"tool_calls"', shell],
    ['/v1beta/models/m:generateContent', contents('write_file'), '"functionCall"', '"file_path"'],
    ['/v1beta/models/m:generateContent', contents('run_shell_command'), '"functionCall"', shell],
  ]
  for (const [path, body, ...parts] of rows) {
    const { text } = await ask(provider.url, path, body)
    for (const part of parts) t.match(text.replaceAll('\\"', '"'), part, `${path} ${JSON.stringify(body)}`)
  }
  const done = { tools: named('Write'), messages: [{ content: [{ type: 'tool_result' }] }] }
  t.match((await ask(provider.url, '/v1/messages', done)).text, ANSWER, 'with its result there are words')
  provider.behave({ runs: 'env', isEndless: true, tools: ['Bash'] })
  t.match((await ask(provider.url, '/v1/messages', { ...done, tools: named('Write', 'Bash') })).text, '"command":"env"')
})

t.test('it errs in the form of each format, and behaves for each call as it is told', async (t) => {
  const provider = await startFakeProvider()
  t.teardown(provider.close)
  provider.behave((_call, index) =>
    index === 0 ? { says: 'first' } : { status: 429, headers: { 'retry-after': '7' } },
  )
  t.match((await ask(provider.url, '/v1/messages', {})).text, '"text":"first"')
  const messages = await ask(provider.url, '/v1/messages', {})
  t.match(messages, { status: 429, text: '"rate_limit_error"' })
  t.equal(messages.headers.get('retry-after'), '7')
  t.match(await ask(provider.url, '/v1/responses', {}), { status: 429, text: '"rate_limit_exceeded"' })
  t.match(await ask(provider.url, '/v1beta/models/m:generateContent', {}), {
    status: 429,
    text: '"RESOURCE_EXHAUSTED"',
  })
  provider.behave({ nonsense: 'types' })
  t.match((await ask(provider.url, '/v1/messages', {})).text, '"input_tokens":"100"')
  provider.behave({ nonsense: 'json' })
  t.match((await ask(provider.url, '/v1/messages', {})).text, /^\{"half"/)
  provider.behave({ nonsense: 'html' })
  t.match((await ask(provider.url, '/v1/messages', {})).text, '<html>')
})
