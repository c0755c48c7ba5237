// Asks before what ends calls.

import { $, el, say } from './dom.js';

// Takes the question back, if there is one.
export function dismiss() {
  $('ask').close();
  for (const part of ['ask-title', 'ask-text']) say($(part), '');
}

// Answers the choice that was made (true if there are none to make), or null. `choices` are [[value, text], …], the first of them chosen.
export function ask({ title, text, verb, choices = [] }) {
  const dialog = $('ask');
  say($('ask-title'), title);
  say($('ask-text'), text);
  say($('ask-yes'), verb);
  const options = choices.map(([value, label], at) => {
    const radio = el('input', { type: 'radio', name: 'choice', value, id: `choice-${value}` });
    radio.checked = at === 0;
    return { radio, label: el('label', { class: 'check', for: radio.id }, radio, ` ${label}`) };
  });
  $('ask-choices').replaceChildren($('ask-choices').firstElementChild, ...options.map((option) => option.label));
  $('ask-choices').hidden = options.length === 0;
  dialog.showModal();
  return new Promise((resolve) => {
    let answer = null;
    $('ask-yes').onclick = () => {
      answer = options.find((option) => option.radio.checked)?.radio.value ?? true;
      dialog.close();
    };
    $('ask-no').onclick = () => dialog.close();
    dialog.onclose = () => resolve(answer); // Escape closes it too
  });
}
