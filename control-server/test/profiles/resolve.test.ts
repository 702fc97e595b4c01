import type { Profile, ProfileOverrides } from '@agent-executor/protocol'
import { Profile as ProfileSchema } from '@agent-executor/protocol'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { FIELDS, type FieldPath, fieldOf } from '../../src/profiles/fields.ts'
import { configurationOf, resolve, SECRET_SHOWN, shownValues } from '../../src/profiles/resolve.ts'
import { documentsOf, ENGINES, MAXIMA, profileVersion, requestOf, templateVersion } from './builders.ts'

type Documents = ReturnType<typeof documentsOf>
const resolved = (t: Test, documents: Documents, name: string, request = requestOf(), maxima = MAXIMA) => {
  const answer = resolve(documents, name, request, maxima)
  if (!answer.ok) return t.fail(JSON.stringify(answer.refusal)) as never
  return answer.resolved
}
const refusal = (documents: Documents, name: string, request = requestOf(), maxima = MAXIMA) => {
  const answer = resolve(documents, name, request, maxima)
  return answer.ok ? null : answer.refusal
}

t.test('a value is the nearest one: request, profile, extended profile, default', async (t) => {
  const documents = documentsOf(
    ...ENGINES,
    profileVersion('base', { agent: { engine: 'shell', model: 'base', image: 'base', timeoutMs: 1 } }, {}, 4),
    profileVersion('own', { extends: 'base', agent: { model: 'own', image: 'own' } }, {}, 2),
  )
  const { fields, chain } = resolved(t, documents, 'own', requestOf({ overrides: { agent: { image: 'asked' } } }))
  const shown = (path: FieldPath) => fields.get(path)
  t.match(shown('agent.image'), { value: 'asked', from: 'request', profile: null })
  t.match(shown('agent.model'), { value: 'own', from: 'profile', profile: 'own' })
  t.match(shown('agent.engine'), { value: 'shell', from: 'extended', profile: 'base' })
  t.match(shown('network.mode'), { value: 'none', from: 'default', profile: null })
  t.same(chain, [
    { name: 'own', version: 2 },
    { name: 'base', version: 4 },
  ])
  t.match(configurationOf(fields), { agent: { image: 'asked', model: 'own' }, network: { mode: 'none' } })
})

t.test('a list replaces a list, and an empty one is not nothing', async (t) => {
  const documents = documentsOf(
    ...ENGINES,
    profileVersion('base', { agent: { engine: 'shell' }, tools: { allow: ['a', 'b'], deny: ['c'] } }),
    profileVersion('own', { extends: 'base', tools: { allow: [] } }),
  )
  const { fields } = resolved(t, documents, 'own')
  t.same(fields.get('tools.allow')?.value, [])
  t.same(fields.get('tools.deny')?.value, ['c'])
})

t.test('a nearer prompt hides a farther one, whether by text or by template', async (t) => {
  const documents = documentsOf(
    ...ENGINES,
    templateVersion('of-base', 'from the template'),
    profileVersion('base', { agent: { engine: 'shell' }, prompt: { template: 'of-base', system: 'sys' } }),
    profileVersion('own', { extends: 'base', prompt: { text: 'inline' } }),
  )
  t.match(resolved(t, documents, 'base').prompt, { text: 'from the template', system: 'sys' })
  const own = resolved(t, documents, 'own')
  t.match(own.prompt, { text: 'inline', system: 'sys' })
  t.notOk(own.fields.has('prompt.template'))
  const asked = resolved(t, documents, 'own', requestOf({ overrides: { prompt: { template: 'of-base' } } }))
  t.equal(asked.prompt.text, 'from the template')
  t.notOk(asked.fields.has('prompt.text'))
  t.match(refusal(documents, 'own', requestOf({ overrides: { prompt: { template: 'of-base', text: 'x' } } })), {
    code: 'INVALID_REQUEST',
    details: [{ path: '/overrides/prompt/text' }],
  })
  t.match(refusal(documents, 'own', requestOf({ overrides: { prompt: { template: 'nothing' } } })), {
    code: 'INVALID_REQUEST',
    details: [{ path: '/overrides/prompt/template' }],
  })
})

t.test('every locked field that a request sets is named, wherever in the chain it was locked', async (t) => {
  const documents = documentsOf(
    ...ENGINES,
    profileVersion('base', { agent: { engine: 'shell', model: 'm' }, locked: ['agent.model', 'prompt.variables.v'] }),
    profileVersion('own', {
      extends: 'base',
      locked: ['prompt.template', 'resources'],
      prompt: { text: 'x', variables: { v: { type: 'string', default: 'd' } } },
    }),
  )
  const overrides: ProfileOverrides = {
    agent: { model: 'n', engine: 'codex' },
    prompt: { text: 'y' },
    resources: { cpus: 1 },
  }
  const request = requestOf({ overrides, variables: { v: 'w' } })
  t.match(refusal(documents, 'own', request), {
    code: 'FIELD_LOCKED',
    details: [
      { path: '/overrides/agent/model' },
      { path: '/overrides/prompt/text' },
      { path: '/overrides/resources/cpus' },
      { path: '/variables/v' },
    ],
  })
  t.equal(resolved(t, documents, 'own').fields.get('agent.model')?.locked, true)
})

t.test(
  'a profile may say otherwise what the one it extends has locked, and it stays locked for requests',
  async (t) => {
    const documents = documentsOf(
      ...ENGINES,
      profileVersion('base', { agent: { engine: 'shell', model: 'm' }, locked: ['agent.model'] }),
      profileVersion('own', { extends: 'base', agent: { model: 'n' } }),
    )
    t.match(resolved(t, documents, 'own').fields.get('agent.model'), { value: 'n', locked: true })
    t.match(refusal(documents, 'own', requestOf({ overrides: { agent: { model: 'o' } } })), { code: 'FIELD_LOCKED' })
  },
)

t.test(
  'nothing exceeds the maxima: a request is refused, and a profile that was stored under larger ones',
  async (t) => {
    const documents = documentsOf(
      ...ENGINES,
      profileVersion('p', { agent: { engine: 'shell' }, resources: { cpus: 4 } }),
    )
    t.match(refusal(documents, 'p', requestOf({ overrides: { resources: { cpus: 9 } } })), {
      code: 'INVALID_REQUEST',
      details: [{ path: '/overrides/resources/cpus', message: /<= 8/ }],
    })
    t.match(refusal(documents, 'p', requestOf(), { ...MAXIMA, runCpusMax: 2 }), {
      code: 'PROFILE_UNUSABLE',
      details: [{ path: '/resources/cpus', message: /<= 2/ }],
    })
    const { fields } = resolved(t, documents, 'p', requestOf(), { ...MAXIMA, runTimeoutMsMax: 1000, runPidsMax: 16 })
    t.equal(fields.get('agent.timeoutMs')?.value, 1000, 'a default gives way')
    t.equal(fields.get('resources.pidsMax')?.value, 16)
  },
)

t.test('variables: required means required, types are checked, the unknown are refused', async (t) => {
  const documents = documentsOf(
    ...ENGINES,
    profileVersion('base', {
      agent: { engine: 'shell' },
      prompt: { variables: { a: { type: 'string', required: true }, b: { type: 'integer', default: 1 } } },
    }),
    profileVersion('p', {
      extends: 'base',
      prompt: { variables: { b: { type: 'string', default: 'two', pattern: '[a-z]+' }, c: { type: 'secret' } } },
    }),
  )
  const details = (variables: Record<string, string | number>) =>
    refusal(documents, 'p', requestOf({ variables }))?.details?.map(({ path, message }) => `${path} ${message}`)
  t.match(details({}), ['/variables/a is required'])
  t.match(details({ a: 1 }), [/^\/variables\/a must be a string/])
  t.match(details({ a: 'x', d: 'y', constructor: 'z' }), [
    /^\/variables\/d is not declared/,
    /constructor is not declared/,
  ])
  const { variables, patterns } = resolved(t, documents, 'p', requestOf({ variables: { a: 'x', c: 'hunter2' } }))
  t.match(variables.get('a'), { value: 'x', from: 'request', profile: null })
  t.match(variables.get('b'), { value: 'two', from: 'profile', profile: 'p', variable: { type: 'string' } })
  t.same(patterns, [], 'a default was tested when it was stored')
  t.same(shownValues(variables), { a: 'x', b: 'two', c: SECRET_SHOWN })
  t.same(resolved(t, documents, 'p', requestOf({ variables: { a: 'x', b: 'B' } })).patterns, [
    { path: '/variables/b', pattern: '[a-z]+', text: 'B' },
  ])
})

t.test('of what nobody gave a list is empty, and the rest is not there', async (t) => {
  const variables = { l: { type: 'list' as const }, s: { type: 'string' as const }, k: { type: 'secret' as const } }
  const documents = documentsOf(...ENGINES, profileVersion('p', { agent: { engine: 'shell' }, prompt: { variables } }))
  t.same(shownValues(resolved(t, documents, 'p').variables), { l: [] })
})

t.test('a prompt that a request brings may name declared variables only', async (t) => {
  const documents = documentsOf(
    ...ENGINES,
    profileVersion('p', { agent: { engine: 'shell' }, prompt: { variables: { a: { type: 'string' } } } }),
  )
  const ask = (names: string[]) =>
    refusal(documents, 'p', requestOf({ overrides: { prompt: { text: '…' } }, names: { text: names, system: [] } }))
  t.equal(ask(['a']), null)
  t.match(ask(['a', 'b']), {
    code: 'INVALID_REQUEST',
    details: [{ path: '/overrides/prompt/text', message: /variable b/ }],
  })
  t.match(
    refusal(documents, 'p', requestOf({ overrides: { prompt: { system: '…' } }, names: { text: [], system: ['b'] } })),
    { details: [{ path: '/overrides/prompt/system' }] },
  )
})

t.test('a profile without an engine needs one from the request', async (t) => {
  const documents = documentsOf(...ENGINES, profileVersion('p', {}))
  t.match(refusal(documents, 'p'), { code: 'INVALID_REQUEST', details: [{ path: '/overrides/agent/engine' }] })
  t.equal(refusal(documents, 'p', requestOf({ overrides: { agent: { engine: 'shell' } } })), null)
})

t.test('a hook is there with its script, and its timeout only then', async (t) => {
  const documents = documentsOf(
    ...ENGINES,
    profileVersion('base', { agent: { engine: 'shell' }, hooks: { pre: { script: 'true' }, post: { timeoutMs: 5 } } }),
    profileVersion('p', { extends: 'base', hooks: { pre: { timeoutMs: 7 } } }),
  )
  t.same(configurationOf(resolved(t, documents, 'p').fields).hooks, { pre: { script: 'true', timeoutMs: 7 } })
})

t.test('the list of fields has every field of the schema of a profile', async (t) => {
  const leaves = (schema: { type?: string; properties?: object }, path: string): string[] =>
    schema.type === 'object' && schema.properties !== undefined
      ? Object.entries(schema.properties).flatMap(([name, each]) =>
          leaves(each, path === '' ? name : `${path}.${name}`),
        )
      : [path]
  const others = ['description', 'extends', 'locked', 'prompt.variables']
  t.same(
    leaves(ProfileSchema, '')
      .filter((path) => !others.includes(path))
      .sort(),
    [...FIELDS].sort(),
  )
})

t.test('whatever a chain of profiles says, each field is the nearest one that is said', async () => {
  const layer = fc.record<Pick<Profile, 'agent' | 'tools' | 'resources'>>(
    {
      agent: fc.record(
        { model: fc.constantFrom('a', 'b', 'c'), timeoutMs: fc.integer({ min: 1, max: 9 }) },
        { requiredKeys: [] },
      ),
      tools: fc.record({ allow: fc.array(fc.constantFrom('r', 'w'), { maxLength: 2 }) }, { requiredKeys: [] }),
      resources: fc.record({ cpus: fc.integer({ min: 1, max: 8 }) }, { requiredKeys: [] }),
    },
    { requiredKeys: [] },
  )
  fc.assert(
    fc.property(layer, fc.array(layer, { minLength: 1, maxLength: 6 }), (overrides, layers) => {
      const versions = layers.map((each, index) =>
        profileVersion(`p${index}`, {
          ...each,
          ...(index + 1 < layers.length ? { extends: `p${index + 1}` } : { agent: { ...each.agent, engine: 'shell' } }),
        }),
      )
      const answer = resolve(documentsOf(...ENGINES, ...versions), 'p0', requestOf({ overrides }), MAXIMA)
      if (!answer.ok) return false
      return FIELDS.filter((path) => /^(agent\.(model|timeoutMs)|tools\.allow|resources\.cpus)$/.test(path)).every(
        (path) => {
          const nearest = [overrides, ...layers].map((each) => fieldOf(each, path)).find((value) => value !== undefined)
          const field = answer.resolved.fields.get(path)
          return nearest === undefined
            ? field === undefined || field.from === 'default'
            : JSON.stringify(field?.value) === JSON.stringify(nearest)
        },
      )
    }),
  )
})
