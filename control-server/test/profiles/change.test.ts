import type { Profile } from '@agent-executor/protocol'
import fc from 'fast-check'
import t from 'tap'
import { chainProblems } from '../../src/profiles/chain.ts'
import {
  DOCUMENTS_CHARACTERS_MAX,
  DOCUMENTS_MAX,
  deleteDocument,
  isSeedWanted,
  type Precondition,
  type Put,
  putDocument,
  type Seed,
  seedDocuments,
} from '../../src/profiles/change.ts'
import { type DocumentKind, type Documents, documentKey } from '../../src/profiles/document.ts'
import { documentsOf, engineVersion, profileVersion, templateVersion } from './builders.ts'

const contentOf = (profile: Profile, names: string[] = []): Put['content'] => ({
  kind: 'profile',
  content: { profile, toml: JSON.stringify(profile), names: { text: names, system: [] } },
})
const textOf = (text: string, names: string[] = []): Put['content'] => ({ kind: 'template', content: { text, names } })

const engineOf = (adapter: 'shell' | 'codex' = 'shell'): Put['content'] => ({
  kind: 'engine',
  content: { engine: { adapter }, toml: adapter },
})

const put = (documents: Documents, name: string, content: Put['content'], precondition: Precondition = 'any') => {
  const isThere = documents.get(documentKey(content.kind, name))?.content !== null
  const isNew = !documents.has(documentKey(content.kind, name)) || !isThere
  const changed = putDocument(documents, {
    ...{ name, content, mustBeNew: false, nowMs: 5 },
    precondition: isNew && precondition === 'any' ? null : precondition,
  })
  return changed.ok
    ? { ...changed, after: new Map(documents).set(documentKey(content.kind, name), changed.document) }
    : changed
}
const refusalOf = (documents: Documents, name: string, content: Put['content'], precondition?: Precondition) => {
  const changed = put(documents, name, content, precondition)
  return changed.ok ? null : changed.refusal
}
const remove = (documents: Documents, kind: DocumentKind, name: string, precondition: Precondition = 'any') =>
  deleteDocument(documents, { kind, name, precondition, nowMs: 6 })

t.test('a profile names an engine that exists, and one that is named is not deleted', async (t) => {
  const named = contentOf({ agent: { engine: 'own' } })
  t.match(refusalOf(documentsOf(), 'p', named), {
    code: 'INVALID_REQUEST',
    details: [{ path: '/agent/engine', message: 'names an engine that does not exist: own' }],
  })
  const documents = documentsOf(
    engineVersion('own', { adapter: 'shell' }),
    profileVersion('p', { agent: { engine: 'own' } }),
  )
  t.match(put(documents, 'q', named), { ok: true })
  t.match(remove(documents, 'engine', 'own'), {
    refusal: {
      ...{ code: 'IN_USE', message: 'p names the engine own.' },
      details: [{ path: '/profiles/p', message: 'names the engine own' }],
    },
  })
  const changed = put(documents, 'own', engineOf('codex'))
  t.match(changed, { ok: true, document: { version: 2 } }, 'what it is may change')
  t.match(remove(documentsOf(engineVersion('own', { adapter: 'shell' })), 'engine', 'own'), { ok: true })
  t.match(remove(documentsOf(), 'engine', 'own'), { refusal: { code: 'ENGINE_NOT_FOUND' } })
})

t.test('versions count up and never come back, not after a deletion either', async (t) => {
  const first = put(documentsOf(), 'p', contentOf({}))
  t.match(first, { ok: true, created: true, isNew: true, document: { version: 1, origin: 'api', createdAtMs: 5 } })
  if (!first.ok) return
  const gone = remove(first.after, 'profile', 'p')
  t.match(gone, { ok: true, document: { version: 2, content: null } })
  if (!gone.ok) return
  const documents = new Map(first.after).set('profile/p', gone.document)
  t.match(remove(documents, 'profile', 'p'), { ok: false, refusal: { code: 'PROFILE_NOT_FOUND' } })
  t.match(put(documents, 'p', contentOf({})), { ok: true, created: true, document: { version: 3 } })
})

t.test('what exists is changed with its version or any, and not without', async (t) => {
  const documents = documentsOf(profileVersion('p', {}, {}, 3))
  const change = contentOf({ description: 'new' })
  t.match(refusalOf(documents, 'p', change, null), { code: 'VERSION_REQUIRED' })
  t.match(refusalOf(documents, 'p', change, { versions: [2] }), { code: 'VERSION_MISMATCH', message: /"3"/ })
  t.match(refusalOf(documents, 'p', change, { versions: [] }), { code: 'VERSION_MISMATCH' })
  t.match(put(documents, 'p', change, { versions: [1, 3] }), { ok: true, created: false, document: { version: 4 } })
  t.match(put(documents, 'p', change, 'any'), { ok: true })
  t.match(refusalOf(documents, 'q', change, { versions: [1] }), { code: 'VERSION_MISMATCH' })
  t.match(remove(documents, 'profile', 'p', null), { refusal: { code: 'VERSION_REQUIRED' } })
  t.match(remove(documents, 'profile', 'p', { versions: [4] }), { refusal: { code: 'VERSION_MISMATCH' } })
})

t.test('the repeat of a change whose answer was lost changes nothing and succeeds', async (t) => {
  const first = put(documentsOf(), 'p', contentOf({ description: 'a' }))
  if (!first.ok) return t.fail()
  t.match(put(first.after, 'p', contentOf({ description: 'a' }), { versions: [0] }), {
    ok: true,
    isNew: false,
    document: { version: 1 },
  })
})

t.test('a profile cannot extend what is not there, itself, or what extends it', async (t) => {
  t.match(refusalOf(documentsOf(), 'p', contentOf({ extends: 'q' })), {
    code: 'INVALID_REQUEST',
    details: [{ path: '/extends', message: /does not exist: p → q/ }],
  })
  t.match(refusalOf(documentsOf(), 'p', contentOf({ extends: 'p' })), { details: [{ message: /itself: p → p/ }] })
  const documents = documentsOf(
    profileVersion('a', {}),
    profileVersion('b', { extends: 'a' }),
    profileVersion('c', { extends: 'b' }),
  )
  t.match(refusalOf(documents, 'a', contentOf({ extends: 'c' })), { details: [{ message: /itself: a → c → b → a/ }] })
})

t.test('a chain is at most 8 long, also where it grows at its far end', async (t) => {
  const eight = documentsOf(
    ...Array.from({ length: 8 }, (_, index) =>
      profileVersion(`p${index}`, index === 7 ? {} : { extends: `p${index + 1}` }),
    ),
    profileVersion('more', {}),
  )
  t.same(chainProblems(eight, 'p0'), [])
  t.match(refusalOf(eight, 'p', contentOf({ extends: 'p0' })), {
    code: 'INVALID_REQUEST',
    details: [{ path: '/extends' }],
  })
  t.match(refusalOf(eight, 'p7', contentOf({ extends: 'more' })), {
    code: 'IN_USE',
    details: [{ path: '/profiles/p0/extends', message: /more than 8/ }],
  })
})

t.test('a profile that others extend, and a template that others name, are not deleted', async (t) => {
  const documents = documentsOf(
    templateVersion('text', 'x'),
    profileVersion('base', {}),
    profileVersion('a', { extends: 'base' }),
    profileVersion('b', { extends: 'base', prompt: { template: 'text' } }),
  )
  t.match(remove(documents, 'profile', 'base'), {
    refusal: { code: 'IN_USE', details: [{ path: '/profiles/a' }, { path: '/profiles/b' }] },
  })
  t.match(remove(documents, 'template', 'text'), { refusal: { code: 'IN_USE', details: [{ path: '/profiles/b' }] } })
  t.match(remove(documents, 'profile', 'a'), { ok: true })
})

t.test('a template names declared variables only, whichever of the two is written last', async (t) => {
  const variables = { a: { type: 'string' as const } }
  const documents = documentsOf(
    templateVersion('text', '{{ a }}', ['a']),
    profileVersion('base', { prompt: { variables } }),
    profileVersion('p', { extends: 'base', prompt: { template: 'text' } }),
  )
  t.match(refusalOf(documents, 'text', textOf('{{ a }} {{ b }}', ['a', 'b'])), {
    code: 'IN_USE',
    details: [{ path: '/profiles/p/prompt/template', message: /variable b/ }],
  })
  t.match(refusalOf(documents, 'base', contentOf({})), {
    code: 'IN_USE',
    details: [{ path: '/profiles/p/prompt/template', message: /variable a/ }],
  })
  t.match(refusalOf(documents, 'q', contentOf({ prompt: { template: 'text' } })), {
    code: 'INVALID_REQUEST',
    details: [{ path: '/prompt/template' }],
  })
  t.match(refusalOf(documents, 'q', contentOf({ prompt: { text: '{{ b }}' } }, ['b'])), {
    details: [{ path: '/prompt/text' }],
  })
  t.match(refusalOf(documents, 'q', contentOf({ prompt: { template: 'none' } })), {
    details: [{ path: '/prompt/template', message: /does not exist/ }],
  })
})

t.test('a lock on nothing is refused', async (t) => {
  t.match(refusalOf(documentsOf(), 'p', contentOf({ locked: ['agent.model', 'agent.modle'] })), {
    code: 'INVALID_REQUEST',
    details: [{ path: '/locked/1', message: /agent\.modle/ }],
  })
})

t.test('there is an end to how many there are and how long they are together', async (t) => {
  const many = documentsOf(...Array.from({ length: DOCUMENTS_MAX }, (_, index) => templateVersion(`t${index}`, '')))
  t.match(refusalOf(many, 'one-more', textOf('')), { code: 'DOCUMENTS_FULL' })
  t.match(put(many, 't0', textOf('x')), { ok: true })
  const gone = remove(many, 'template', 't1')
  if (!gone.ok) return t.fail()
  const room = new Map(many).set('template/t1', gone.document)
  t.match(put(room, 'one-more', textOf('')), { ok: true }, 'to delete one makes room')
  const long = documentsOf(templateVersion('long', 'x'.repeat(DOCUMENTS_CHARACTERS_MAX)))
  t.match(refusalOf(long, 'one-more', textOf('x')), { code: 'DOCUMENTS_FULL' })
})

const seed = (name: string, content: Put['content'], sha256 = 'sha-1'): Seed => ({ name, content, sha256 })

t.test('seeds are stored in an order in which each finds what it refers to', async (t) => {
  const seeds = [
    seed('a', contentOf({ extends: 'b' })),
    seed('b', contentOf({ extends: 'c', prompt: { template: 'text' } })),
    seed('c', contentOf({})),
    seed('text', textOf('x')),
    seed('lost', contentOf({ extends: 'nowhere' })),
  ]
  const { stored, refused } = seedDocuments(documentsOf(), seeds, 7)
  t.same(stored.map(({ name }) => name).sort(), ['a', 'b', 'c', 'text'])
  t.match(stored[0], { origin: 'seed', seedSha256: 'sha-1', version: 1, createdAtMs: 7 })
  t.match(refused, [{ seed: { name: 'lost' }, refusal: { code: 'INVALID_REQUEST' } }])
})

t.test(
  'a seed is loaded once, again when its file changes, and never over what somebody wrote or deleted',
  async (t) => {
    const own = seed('p', contentOf({ description: 'seed' }))
    const first = seedDocuments(documentsOf(), [own], 1).stored
    const documents = documentsOf(...first)
    t.same(seedDocuments(documents, [own], 2), { stored: [], refused: [] })
    t.match(seedDocuments(documents, [{ ...own, sha256: 'sha-2' }], 2).stored, [{ version: 2, origin: 'seed' }])
    const edited = put(documents, 'p', contentOf({ description: 'edited' }))
    if (!edited.ok) return t.fail()
    t.notOk(isSeedWanted(edited.after, 'profile', 'p', 'sha-2'))
    const gone = remove(documents, 'profile', 'p')
    if (!gone.ok) return t.fail()
    t.notOk(isSeedWanted(new Map([['profile/p', gone.document]]), 'profile', 'p', 'sha-2'))
  },
)

t.test('whatever is put and deleted in whatever order, every live profile holds together', async () => {
  const names = ['a', 'b', 'c', 'd']
  const name = fc.constantFrom(...names)
  const profile = fc.record<Profile>(
    {
      extends: name,
      agent: fc.record({ engine: fc.constantFrom('e', 'f') }),
      prompt: fc.oneof(
        fc.record({ template: fc.constantFrom('s', 't') }),
        fc.record({ variables: fc.constant({ v: { type: 'string' as const } }) }),
      ),
    },
    { requiredKeys: [] },
  )
  const step = fc.oneof(
    fc.record({ do: fc.constant('profile' as const), name, profile }),
    fc.record({
      do: fc.constant('template' as const),
      name: fc.constantFrom('s', 't'),
      names: fc.subarray(['v', 'w'], { maxLength: 1 }),
    }),
    fc.record({
      do: fc.constant('engine' as const),
      name: fc.constantFrom('e', 'f'),
      adapter: fc.constantFrom('shell' as const, 'codex' as const),
    }),
    fc.record({
      do: fc.constant('delete' as const),
      kind: fc.constantFrom('profile' as const, 'template' as const, 'engine' as const),
      name: fc.constantFrom(...names, 's', 't', 'e', 'f'),
    }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      let documents: Documents = new Map()
      for (const each of steps) {
        const changed =
          each.do === 'delete'
            ? remove(documents, each.kind, each.name)
            : put(
                documents,
                each.name,
                each.do === 'profile'
                  ? contentOf(each.profile)
                  : each.do === 'engine'
                    ? engineOf(each.adapter)
                    : textOf('', each.names),
              )
        if (!changed.ok) continue
        const { kind, name: changedName } = changed.document
        const before = documents.get(documentKey(kind, changedName))?.version ?? 0
        if (changed.isNew && changed.document.version !== before + 1) return false
        documents = new Map(documents).set(documentKey(kind, changedName), changed.document)
        for (const live of documents.values())
          if (live.kind === 'profile' && live.content !== null && chainProblems(documents, live.name).length > 0)
            return false
      }
      return true
    }),
  )
})
