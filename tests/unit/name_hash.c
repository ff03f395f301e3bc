/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/name_hash.h"

static const struct {
	const char *text, *sha1, *md5;
} known[] = {
	{"", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
		"d41d8cd98f00b204e9800998ecf8427e"},
	{"abc", "a9993e364706816aba3e25717850c26c9cd0d89d",
		"900150983cd24fb0d6963f7d28e17f72"},
	{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		"84983e441c3bd26ebaae4aa1f95129e5e54670f1",
		"8215ef0796a20bcaaae116d3876c664a"},
};

START_TEST(published_vectors)
{
	char out[NAME_HASH_SHA1], md5[NAME_HASH_MD5];
	unsigned i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		const char *t = known[i].text;

		ck_assert_str_eq(name_hash_sha1(t, strlen(t), out),
			known[i].sha1);
		ck_assert_str_eq(name_hash_md5(t, strlen(t), md5),
			known[i].md5);
	}
}
END_TEST

START_TEST(a_million_letters)
{
	char out[NAME_HASH_SHA1], *text = malloc(1000000);

	memset(text, 'a', 1000000);
	ck_assert_str_eq(name_hash_sha1(text, 1000000, out),
		"34aa973cd4c4daa4f61eeb2bdbad27316534016f");
	ck_assert_str_eq(name_hash_md5(text, 1000000, out),
		"7707d6ae4e027c70eea2a935c2296f21");
	free(text);
}
END_TEST

/* Every length around the ends of one, two and three blocks: the hash of all
 * results, as Python's hashlib has it. */
START_TEST(all_short_lengths)
{
	char all[2][200 * 40 + 1], out[NAME_HASH_SHA1];
	unsigned char text[200];
	size_t n, i;

	for (n = 0; n < 200; n++) {
		for (i = 0; i < n; i++)
			text[i] = (unsigned char)(i * 7 + n);
		memcpy(all[0] + 40 * n, name_hash_sha1(text, n, out), 40);
		memcpy(all[1] + 32 * n, name_hash_md5(text, n, out), 32);
	}
	ck_assert_str_eq(name_hash_sha1(all[0], 200 * 40, out),
		"2f6802648317bafe21f9eb1c0f956525ee37776d");
	ck_assert_str_eq(name_hash_sha1(all[1], 200 * 32, out),
		"598e4d3fc7eeb2f3d156257369b00dbda028e95b");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("name_hash");
	TCase *t = tcase_create("name_hash");
	SRunner *r;
	int failed;

	tcase_add_test(t, published_vectors);
	tcase_add_test(t, a_million_letters);
	tcase_add_test(t, all_short_lengths);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
