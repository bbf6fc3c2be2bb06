"""fixtures/jinja_expressions.json: what Jinja2, set up as transformers does, makes of small templates.

    [[template, text | null]]: null where Jinja2 fails, at compilation or when it renders

Each template sees the variables of `VARIABLES`. Those that Stablemate refuses although Jinja2 renders them are listed
in the test that reads this file.
"""

import json
import pathlib

from transformers.utils import chat_template_utils

VARIABLES = {
    "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
    "s": "  The quick fox ", "n": 7, "f": 2.5, "none": None, "d": {"b": 1, "a": [1, None, True]}, "e": [],
    "l": [3, 1, 2], "w": "they're BILL's friends, x_y 3rd ǆ",
    "u": "\x1c a\x85b\u2003 \x1f", "html": "<b>&'\"", "lines": "one\n\n  two\r\nthree\x0bfour\n",
}

EXPRESSIONS = [
    # Slices
    *[f"{{{{ {name}[{a}:{b}:{c}] }}}}" for name in ("l", "'abcdef'", "e", "(1, 2, 3)")
      for a, b, c in [("", 0, -1), (2, 0, -1), ("", "", -1), (-1, -3, -1), ("", "", 2), (1, "", 2), (5, "", -2), ("", -10, -1),
                      (0, 10, 1), (-2, "", 1), ("", "", -3)]],
    "{{ l[:2] }}{{ l[1:] }}{{ l[-2:] }}{{ l[:-1] }}{{ l[5:] }}{{ l[:] }}",
    "{{ 'abcdef'[1:3] }}{{ 'héé'[-2:] }}{{ 'abc'[n:] }}|",
    "{{ l[::0] }}", "{{ l[n-6:] }}{{ l[(1):][0] }}", "{{ d['a'][::-1] }}{{ l[none:none:-1] }}",
    "{{ messages[:0:-1]|map(attribute='content')|join(',') }}", "{{ messages[1:][::-1][0].content }}",
    # White space of Python
    "[{{ u.strip() }}][{{ u.lstrip() }}][{{ u.rstrip() }}]", "{{ u.split() }}{{ ' a  b '.split(' ') }}", "[{{ u|trim }}]",
    "[{{ '  x '|trim }}][{{ 'xxaxx'|trim('x') }}][{{ 'xyaxy'.strip('yx') }}]", "{{ u.isspace() }}{{ ''.isspace() }}{{ ' '.isspace() }}",
    "{{ lines.splitlines() }}", "{{ lines.splitlines(true) }}", "{{ 'a\\n'.splitlines() }}{{ ''.splitlines() }}",
    # Letters
    "{{ w.title() }}", "{{ w|title }}", "{{ w.capitalize() }}{{ w|capitalize }}", "{{ 'ß'.upper() }}{{ 'İ'.lower()|length }}{{ 'aB'.swapcase() }}",
    "{{ 'Abc'.islower() }}{{ 'abc'.islower() }}{{ '1'.isupper() }}{{ 'AB'.isupper() }}", "{{ 'a1'.isalnum() }}{{ '²'.isdigit() }}{{ '²'.isdecimal() }}{{ 'Ⅷ'.isnumeric() }}{{ 'é'.isalpha() }}",
    "{{ 'abc'.startswith('ab') }}{{ 'abc'.startswith(('x', 'a')) }}{{ 'abc'.endswith('') }}", "{{ 'a-b-c'.split('-', 1) }}{{ 'abc'.find('z') }}{{ 'abcabc'.count('bc') }}",
    "{{ 'x'.join(['a', 'b']) }}{{ 'abc'.replace('b', '') }}{{ 'aaa'.replace('a', 'b', 1) }}", "{{ '{} {x}'.format(1, x='y') }}",
    "{{ 'a\\tb'.expandtabs(4) }}", "{{ 'abc'.encode() }}",
    # indent
    "[{{ '{\\n'|indent(4, first=true) }}]", "[{{ 'a\\nb\\n\\nc'|indent }}]", "[{{ 'a\\nb\\n\\nc'|indent(2, true, true) }}]", "[{{ 'a\\nb'|indent('>') }}]",
    "[{{ ''|indent }}][{{ '\\n'|indent(1) }}][{{ 'a\\n\\n'|indent(1, blank=true) }}]", "[{{ lines|indent(1) }}]", "[{{ 'a\\nb'|indent(width=1, first=true) }}]",
    # safe text
    "{{ '<b>'|safe + html }}", "{{ html + '<b>'|safe }}", "{{ '<b>'|safe ~ html }}", "{{ 'x' + ('<b>'|safe) + html + d|tojson }}", "{{ n * 'x' + '<b>'|safe }}", "{% set x = html|e + '<' %}{{ x }}{{ x|safe + '>' }}",
    "{% if false %}{{ 'x'|nowhere }}{% endif %}a", "{{ 'x'|nowhere if false else 'b' }}", "{{ '<b>'|safe }}{{ html }}", "{{ html|e }}{{ html|escape|length }}", "{{ html|safe|upper }}",
    # raw
    "{% raw %}\nx{% endraw %}", "a {% raw %} {{ x }} {% endraw %} b", "a\n{%- raw -%}\n x \n{%- endraw -%}\n b", "{% raw %}x\n{% endraw %}\ny", "  {% raw %}\n\n {% endraw %}\n\nz",
    # Iteration
    "{% for x in none %}a{% else %}b{% endfor %}", "{% for x in e %}a{% else %}b{% endfor %}", "{% for x in nowhere %}a{% else %}b{% endfor %}", "{% for c in 'héx' %}{{ c }}.{% endfor %}",
    "{% for x in n %}a{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for x in l if x > 1 %}{{ loop.index }}{{ x }}{% endfor %}",
    "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for x in (l if n else e) %}{{ x }}{% endfor %}", "{% for x in l|sort(reverse=true) %}{{ x }}{{ loop.last }}{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}", "{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}{{ loop(x) }}{% else %}{{ x }}{% endif %}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.revindex0 }}{% endfor %}", "{% for x in range(3) %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in true %}a{% endfor %}", "{{ none|join }}", "{{ none|length }}", "{{ none|list }}", "{{ l|map('string')|join }}",
    # Escapes
    "{{ '\\U0001F600' }}|{{ 'a\\/b' }}|", "{{ '\\x41\\101\\u00e9' }}", "{{ 'a\\qb\\dc' }}", "{{ '\\a\\b\\f\\v\\0'|list|length }}", "{{ 'it\\'s \\\"x\\\" \\\\' }}", "{{ \"\\t\\n\\r\"|tojson }}",
    "{{ 'a\\\nb' }}", "{{ '\\\\n' }}{{ '\\\\\\n' }}", "{{ '\\12' }}{{ '\\8' }}", "{{ 'é\\xe9' }}",
    # Percent
    "{{ '%s' % messages[0].content }}", "{{ '%s-%d' % ('x', 3) }}", "{{ '%5.2f|%-5s|%05d|%+d' % (f, 'a', 42, 7) }}", "{{ '%x %X %o %e %g' % (255, 255, 8, 12345.678, 0.0001) }}",
    "{{ '%%' % () }}", "{{ '%s %s' % ('a',) }}", "{{ '%d' % 'a' }}", "{{ '%(b)s' % d }}", "{{ '%r' % 'a' }}{{ '%s' % [1, 'b'] }}", "{{ '%s' % s|trim }}{{ 'a' ~ '%s' % n }}", "{{ '%s' % n + 'x' }}",
    "{{ n % 4 }}{{ -n % 4 }}{{ f % 2 }}", "{{ '%s: %s'|format('a', 2) }}", "{{ '%c%c' % ('a', 98) }}", "{{ '%.3s|%10s|%-10s|' % ('abcdef', 'r', 'l') }}", "{{ '%i' % 3.99 }}",
    # Numbers
    "{{ 7 // 2 }}{{ -7 // 2 }}{{ 7 / 2 }}{{ 6 / 2 }}{{ 2 ** 10 }}{{ 2 ** -1 }}", "{{ 1e3 }}{{ 1.0 }}{{ 10 ** 20 }}", "{{ 7|float }}{{ '3.5'|float }}{{ '12'|int }}{{ 'ff'|int(0, 16) }}", "{{ 2.675|round(2) }}{{ 2.5|round }}{{ 3.7|round(0, 'floor') }}{{ 1.2|round(method='ceil') }}",
    "{{ true + 1 }}{{ l|sum }}{{ [1.5, 2]|sum }}", "{{ 1 == 1.0 }}{{ '1' == 1 }}{{ none == false }}{{ true == 1 }}", "{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}", "{{ 1 < 'a' }}", "{{ 'a' + 1 }}", "{{ 'a' * 3 }}{{ [1] * 2 }}{{ [1] + [2] }}", "{{ 1 / 0 }}",
    "{{ -3|abs }}{{ (-3)|abs }}{{ 3 is odd }}{{ 4 is divisibleby(2) }}", "{{ 1_000 }}{{ 0x1F }}{{ 0b11 }}{{ 0o17 }}",
    # cycler, joiner, namespace, macros
    "{% set c = cycler('a', 'b') %}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.next() }}", "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b",
    "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, b=3) }}", "{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(1, 2, 3) }}",
    "{% macro m() %}{{ kwargs }}{% endmacro %}{{ m(x=1) }}", "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{% endcall %}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set x %}a{{ n }}{% endset %}{{ x }}{{ x|length }}", "{% filter upper %}abc{% endfilter %}", "{% with x = 1 %}{{ x }}{% endwith %}{{ x is defined }}", "{{ dict(a=1, b=2) }}{{ dict([('x', 1)]) }}", "{{ range(5, 0, -2)|list }}{{ range(3) }}", "{{ lipsum is defined }}",
    # Values as text
    "{{ d }}{{ l }}{{ none }}{{ true }}{{ f }}{{ (1,) }}{{ () }}{{ {} }}", "{{ nowhere }}|{{ nowhere|default('x') }}|{{ none|default('x') }}|{{ ''|default('x', true) }}", "{{ nowhere.x }}", "{{ d.nowhere }}|{{ d['nowhere'] }}|{{ l[9] }}|", "{{ d.a.b.c }}", "{{ none.x }}|",
    "{{ d|tojson }}{{ 'é<'|tojson }}{{ f|tojson }}{{ [none, true]|tojson(indent=1) }}", "{{ d.items()|list }}{{ d.keys()|list }}{{ d.values()|list }}", "{{ d|dictsort }}{{ d|items|list }}", "{{ d.get('zz', 5) }}{{ d.get('zz') }}{{ 'b' in d }}{{ 3 in l }}{{ 'qu' in s }}", "{{ d.update({}) }}",
    "{{ l.append(4) }}{{ l }}", "{{ l.pop() }}", "{{ l.index(2) }}{{ l.count(1) }}{{ (1, 2).index(2) }}",
    # Filters
    "{{ l|sort }}{{ l|min }}{{ l|max }}{{ l|first }}{{ l|last }}{{ l|reverse|list }}", "{{ ['b', 'A', 'c']|sort }}{{ ['b', 'A']|sort(case_sensitive=true) }}{{ ['a', 'A', 'b']|unique|list }}", "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ messages|rejectattr('role', 'eq', 'user')|map(attribute='content')|list }}",
    "{{ l|select('odd')|list }}{{ l|reject('gt', 1)|list }}{{ l|map('float')|list }}", "{{ messages|groupby('role')|length }}{{ messages|map(attribute='x', default='-')|join }}", "{{ l|batch(2, 0)|list }}{{ l|slice(2)|list }}", "{{ 'a b'|urlencode }}{{ 'abc'|reverse }}", "{{ 'hello world foo'|wordwrap(7) }}", "{{ 'x'|center(5) }}|{{ 'a,b'|replace(',', ';') }}", "{{ '<p>a</p> b'|striptags }}",
    "{{ l|join(', ') }}{{ messages|join('-', attribute='content') }}", "{{ 1234567|filesizeformat }}", "{{ 'abc'|list }}{{ d|list }}{{ 'one two'|wordcount }}", "{{ d|attr('items') is defined }}{{ s|string|length }}", "{{ 'x'|nowhere }}", "{{ l|xmlattr }}", "{{ ['a']|pprint }}",
    # Tests and conditions
    "{{ n is number }}{{ s is string }}{{ d is mapping }}{{ l is sequence }}{{ none is none }}{{ nowhere is undefined }}{{ true is boolean }}{{ n is integer }}{{ f is float }}", "{{ 'A' is upper }}{{ 'a' is lower }}{{ n is sameas(7) }}{{ 3 is in(l) }}{{ n is eq(7) }}{{ n is gt 3 }}", "{{ 'a' if n > 3 else 'b' }}|{{ 'a' if n > 9 }}|", "{{ not e and d or n }}{{ n and 'x' }}{{ none or 'y' }}", "{{ 1 if nowhere else 2 }}{{ 3 not in l }}{{ l is not none }}",
    "{{ 'a' ~ 1 ~ none ~ true ~ 1.0 }}", "{{ 1 < 2 < 3 }}{{ 3 > 2 > 2 }}", "{{ true is true }}{{ false is false }}{{ none is not defined }}", "{% if n is divisibleby 7 and s %}y{% endif %}", "{{ loop is defined }}{{ self is defined }}",
    # White space of the template
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a {%- if true -%} b {%- endif -%} c", "{% if true %}a{% endif %}\n\nb", "x {# note #}\ny", "  {#- note -#}  z", "{{ n }}\n", "{{ n -}}\n z", "a\n\t{%+ if true %}b{% endif +%}\nc",
    "{% set x = 1 %}\n{% set y = 2 %}\n{{ x + y }}", "{{ '{{' }}{{ '%}' }}", "# line\n## c", "{{ \"a\" 'b' }}",
]


def main() -> None:
    rows = []
    for source in EXPRESSIONS:
        try:
            # Rendering may change what it is given.
            variables = json.loads(json.dumps(VARIABLES))
            text = chat_template_utils._compile_jinja_template(source).render(**variables)
            text.encode()
        except Exception:
            text = None
        rows.append([source, text])
    path = pathlib.Path(__file__).parent.parent / "fixtures" / "jinja_expressions.json"
    lines = ",\n".join(" " + json.dumps(row) for row in rows)
    path.write_text('{"variables": ' + json.dumps(VARIABLES) + ',\n"rows": [\n' + lines + "\n]}\n")
    print(len(rows), "templates,", sum(text is None for _, text in rows), "of which fail")


if __name__ == "__main__":
    main()
