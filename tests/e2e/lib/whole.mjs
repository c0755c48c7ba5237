// What takes long and is looked at by shorter tests too runs only where all of it is asked for: `cargo xtask e2e --whole`.
export const whole = process.env.RINGCAST_WHOLE === '1';

// To be spread into a test's options.
export const onlyWhole = whole ? {} : { skip: 'it takes long: cargo xtask e2e --whole' };
