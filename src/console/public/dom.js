/**
 * The few ways in which the page touches the document. Text is always inserted as text: nothing
 * here, or anywhere in the page, turns a string into markup.
 */

/** @typedef {Element | string} Child */

/**
 * @template T
 * @typedef {{ root: Element, update: (item: T) => void }} Part  A piece of the page that shows a T.
 */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string>} attributes
 * @param {...Element} children
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svgElement(tag, attributes, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * Writes only what differs, so that a selection or a screen reader is not disturbed every second.
 * @param {Element} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * @param {Element} node
 * @param {string} name
 * @param {string | null} value null: without the attribute
 */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) === value) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}

/**
 * @param {Element} node
 * @param {boolean} shown
 */
export function setShown(node, shown) {
  setAttribute(node, 'hidden', shown ? null : '');
}

/**
 * An element of index.html, which the page cannot do without.
 * @param {string} id
 */
export function byId(id) {
  const node = document.getElementById(id);
  if (node === null) throw new Error(`index.html has no element with the id ${id}`);
  return node;
}

/**
 * Keeps the children of `parent` equal to a list, one part per key: known ones are updated in
 * place, so that focus, selection and open state survive.
 * @template T
 * @param {Element} parent
 * @param {(item: T, index: number) => string} keyOf unique within the list
 * @param {(item: T) => Part<T>} create
 * @returns {(items: readonly T[]) => void}
 */
export function keyedList(parent, keyOf, create) {
  /** @type {Map<string, Part<T>>} */
  let parts = new Map();
  return (items) => {
    /** @type {Map<string, Part<T>>} */
    const kept = new Map();
    items.forEach((item, index) => {
      const key = keyOf(item, index);
      kept.set(key, parts.get(key) ?? create(item));
    });
    for (const [key, part] of parts) if (!kept.has(key)) part.root.remove();
    let place = parent.firstElementChild;
    for (const { root } of kept.values()) {
      if (root === place) place = place.nextElementSibling;
      else parent.insertBefore(root, place);
    }
    parts = kept;
    items.forEach((item, index) => kept.get(keyOf(item, index))?.update(item));
  };
}

/**
 * A table whose cells keep their meaning for assistive technology when a narrow screen lays them
 * out as a grid: CSS that changes `display` would otherwise take the table's semantics away.
 * @param {string} caption
 * @param {readonly string[]} columns
 */
export function table(caption, columns) {
  const heads = columns.map((name) => element('th', { role: 'columnheader', scope: 'col' }, name));
  const body = element('tbody', { role: 'rowgroup' });
  const root = element(
    'table',
    { role: 'table' },
    element('caption', { class: 'unseen' }, caption),
    element('thead', { role: 'rowgroup' }, element('tr', { role: 'row' }, ...heads)),
    body,
  );
  return { root, body };
}

/**
 * @param {string} label column name, shown beside the value on narrow screens
 * @param {string} name class
 * @param {...Child} children
 */
export function cell(label, name, ...children) {
  return element('td', { role: 'cell', class: name, 'data-label': label }, ...children);
}

/** @typedef {'ok' | 'warn' | 'bad' | 'idle'} Tone */

/**
 * A state in a word, with a colour and a shape.
 * @returns {Part<{ tone: Tone, word: string }>}
 */
export function pill() {
  const root = element('span', { class: 'pill' });
  return {
    root,
    update({ tone, word }) {
      setAttribute(root, 'data-tone', tone);
      setText(root, word);
    },
  };
}
