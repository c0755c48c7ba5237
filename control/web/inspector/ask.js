// Asks before what ends calls.

import { $, el, note, say } from './dom.js';

const MINUTE_MS = 60_000;

// Takes the question back, if there is one.
export function dismiss() {
  $('ask').close();
  for (const part of ['ask-title', 'ask-text']) say($(part), '');
}

// Answers { choice, minutes }, or null. `choices` are [[value, text], …], the first of them chosen; `choice` is null if there are none. `minutes`
// is asked for where `limit` is given: { of, text, now }, with the choice that it goes with (null: always), its hint, and what is set already.
export function ask({ title, text, verb, choices = [], limit = null }) {
  const dialog = $('ask');
  say($('ask-title'), title);
  note($('ask-text'), text);
  say($('ask-yes'), verb);
  const options = choices.map(([value, label], at) => {
    const radio = el('input', { type: 'radio', name: 'choice', value, id: `choice-${value}`, onchange: () => showLimit() });
    radio.checked = at === 0;
    return { radio, label: el('label', { class: 'check', for: radio.id }, radio, ` ${label}`) };
  });
  const chosen = () => options.find((option) => option.radio.checked)?.radio.value ?? null;
  const isLimited = () => limit !== null && (limit.of === null || limit.of === chosen());
  const showLimit = () => {
    $('ask-limit').hidden = !isLimited();
    $('ask-minutes').disabled = !isLimited(); // what is not seen is not checked
  };
  $('ask-choices').replaceChildren($('ask-choices').firstElementChild, ...options.map((option) => option.label));
  $('ask-choices').hidden = options.length === 0;
  $('ask-minutes').value = limit?.now ?? '';
  say($('ask-hint'), limit?.text ?? '');
  showLimit();
  dialog.showModal();
  return new Promise((resolve) => {
    let answer = null;
    $('ask-form').onsubmit = (event) => {
      event.preventDefault();
      answer = { choice: chosen(), minutes: isLimited() ? $('ask-minutes').valueAsNumber || null : null };
      dialog.close();
    };
    $('ask-no').onclick = () => dialog.close();
    dialog.onclose = () => resolve(answer); // Escape closes it too
  });
}

// Whole minutes until then, one at least; none without a time.
export const minutesUntil = (time) => (time ? Math.max(1, Math.ceil((time - Date.now()) / MINUTE_MS)) : null);
